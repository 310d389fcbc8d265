"""Which worker runs what: a file at a time, but all that drives the whole instance of `tests.driven` on one."""

from typing import Final

from xdist.scheduler import LoadFileScheduling

_DRIVEN: Final = (
    "tests/browser/",
    "tests/faults/test_kills.py",
    "tests/faults/test_resume.py",
    "tests/faults/test_third_party.py",
    "tests/javascript/test_follow.py",
)
"""Every worker that runs any of these starts a Kafka, a Postgres and all processes of an instance beside its own."""


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Of pytest-xdist, in the order of the files: what waits for servers comes first, the many quick ones fill up."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "driven" if nodeid.startswith(_DRIVEN) else scope
