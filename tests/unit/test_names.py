import re
from pathlib import Path

import pytest
from lastseen import names
from lastseen.envelope import Event
from lastseen.names import CATEGORY_OF, ProjectEvents, SystemEvents, TaskEvents, UserEvents

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_names_are_those_of_the_protocol() -> None:
    listed = re.search(r"^Named types\..*?\n\n", PROTOCOL.read_text(), re.MULTILINE | re.DOTALL)
    assert listed is not None
    types = re.findall(r"`([a-z_]+)`", listed[0])
    assert len(types) == 29
    assert sorted(types) == sorted(
        str(name) for kind in (TaskEvents, ProjectEvents, SystemEvents, UserEvents) for name in kind
    )


@pytest.mark.parametrize(
    ("kind", "types", "prefix"),
    [
        (TaskEvents, names.TASK_TYPES, "task"),
        (ProjectEvents, names.PROJECT_TYPES, "project"),
        (SystemEvents, names.SYSTEM_TYPES, "system"),
        (UserEvents, names.USER_TYPES, "user"),
    ],
)
def test_each_name_is_its_type(kind: type[TaskEvents], types: frozenset[str], prefix: str) -> None:
    assert set(kind) == types
    for name in kind:
        assert name.value == f"{prefix}_{name.name.lower()}"
        assert CATEGORY_OF[name] == prefix
    assert all(type(one) is str for one in types)


def test_the_special_types_are_named_types() -> None:
    for special in (names.TERMINAL_TYPES, names.MEMBERSHIP_TYPES, names.PRESENCE_TYPES, names.RIGHTS_TYPES):
        assert special <= CATEGORY_OF.keys()


def test_a_name_is_written_as_a_plain_text() -> None:
    event = Event.model_validate({"type": TaskEvents.STARTED, "task_id": "t"})
    assert type(event.type) is str
    assert event.type == "task_started"
