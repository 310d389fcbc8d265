"""Both loops that send: the one in Python, and the native one, which is built into the checkout where a compiler is."""

import shutil

import pytest

from service.adapters.sends import python, sends

_NATIVE, _ = sends(native=True)
_IS_BUILT = _NATIVE is not python.send_all


def _check_built() -> None:
    assert _IS_BUILT or shutil.which("cc") is None, "there is a compiler, but the native loop was not built: ./dev"


_check_built()
WITH_EACH_LOOP = pytest.mark.parametrize(
    "send_all",
    [
        pytest.param(python.send_all, id="python"),
        pytest.param(_NATIVE, id="native", marks=pytest.mark.skipif(not _IS_BUILT, reason="no C compiler here")),
    ],
)
"""For a test with the argument `send_all`."""
