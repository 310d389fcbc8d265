"""A deployment's own code that is broken: the start says which, and why."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.deployed import authority_of, extend
from service.domain.errors import LastseenError
from service.node.handlers.standard import standard_handlers
from tests.service_process import SECRET

AUTHORITY, EXTENSIONS = "LASTSEEN_AUTHORITY", "LASTSEEN_EXTENSIONS"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (AUTHORITY, "nowhere:Authority", "'nowhere:Authority' can't be used as module:function: No module named"),
        (AUTHORITY, "broken:nothing", "cannot import name 'nothing' from 'broken'"),
        (AUTHORITY, "broken:number", "'broken:number' can't be used as module:function: Input should be callable"),
        (AUTHORITY, "failing:Authority", "'failing:Authority' can't be imported: ZeroDivisionError: division by zero"),
        (EXTENSIONS, "broken:twice", 'has to look like ["module:function", …], in JSON'),
        (EXTENSIONS, '["broken:missing"]', "cannot import name 'missing' from 'broken'"),
    ],
)
def test_code_that_can_t_be_had_is_named(tmp_path: Path, variable: str, value: str, said: str) -> None:
    (tmp_path / "broken.py").write_text("number = 3")
    (tmp_path / "failing.py").write_text("1 / 0")
    environment = {"PYTHONPATH": str(tmp_path), "LASTSEEN_JWT_SECRET": SECRET, variable: value}
    command = [sys.executable, "-m", "service.main"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lastseen node: {variable}: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


class Half:
    """Fulfils a part of the port."""

    def __init__(self, by_the_log: Any) -> None:
        self.judge = by_the_log

    def note(self) -> None:
        """Nothing."""


def raising(_: object) -> Any:
    raise KeyError("directory")


def twice(handlers: Any) -> None:
    handlers.add("ping", print, print)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            Half,
            r":Half gave a Half, which lacks judge, may_execute, may_start, still_may, contradicts of the port",
        ),
        (raising, r"test_deployed:raising failed: KeyError: 'directory' \(.*test_deployed.py, line \d+\)"),
    ],
)
def test_an_authority_that_is_none(make: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(LastseenError, match=said):
        authority_of(make)(None)  # type: ignore[arg-type]


def test_an_extension_that_fails() -> None:
    with pytest.raises(LastseenError, match="test_deployed:twice failed: ValueError: messages of type ping have a"):
        extend(standard_handlers(), [twice])
