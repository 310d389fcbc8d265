"""The events that are measured with: 300 bytes of JSON each, spread over projects and so over partitions."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from lastseen.envelope import Event
from lastseen.names import Category
from lastseen.record import NewRecord, encode

VALUE_BYTES = 300
PROJECTS = 64
_TIME = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)

_numbers = count()


def make_event(project: str, task: str) -> Event:
    """An event with an id that no other of this process has, and VALUE_BYTES of JSON in the log."""
    event = _event(f"b{next(_numbers):011d}", project, task, "")
    missing = VALUE_BYTES - len(event.to_json())
    if missing < 0:
        raise ValueError(f"the ids {project!r} and {task!r} are too long for {VALUE_BYTES} bytes")
    return _event(event.id, project, task, "x" * missing)


def make_events(amount: int) -> Iterator[Event]:
    """Events of PROJECTS projects in turn, one task each."""
    for number in range(amount):
        yield make_event(f"p{number % PROJECTS}", f"t{number % PROJECTS}")


def make_starts() -> list[Event]:
    """The events that start the tasks of `make_events`, as a task's first event does."""
    return [
        Event(type="task_started", category=Category.TASK, task_id=f"t{number}", project_id=f"p{number}")
        for number in range(PROJECTS)
    ]


def make_records(amount: int) -> list[NewRecord]:
    """The records of `make_events`."""
    return [encode(event) for event in make_events(amount)]


def _event(id_: str, project: str, task: str, text: str) -> Event:
    return Event(
        id=id_,
        type="task_output",
        category=Category.TASK,
        task_id=task,
        project_id=project,
        timestamp=_TIME,
        data={"text": text},
    )
