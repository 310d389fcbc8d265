"""What a node lists of the rights that it holds, and for whom."""

import pytest
from lastseen.envelope import Event
from lastseen.task_state import TaskState

from service.domain.identity import Identity
from service.node.listing import Listing
from tests.raw import task_event
from tests.unit.test_access import ANN, BOB, Bench

ROOT = Identity("root", "admin", frozenset(), frozenset(), 2**40)


def project(id_: str, owner: str) -> Event:
    return Event(type="project_created", category="project", project_id=id_, user_id=owner, data={"name": id_.upper()})


def member(id_: str, user: str, *, gone: bool = False) -> Event:
    kind = "project_member_removed" if gone else "project_member_added"
    return Event(
        type=kind, category="project", project_id=id_, user_id="boss", data={"user_id": user, "role": "viewer"}
    )


@pytest.fixture
async def bench() -> Bench:
    """Three projects of ann's, one deleted, and one of carl's; tasks of both, and one of bob's own."""
    bench = Bench(tasks=100)
    await bench.load()
    await bench.append(
        *(project(id_, "ann") for id_ in ("b", "a", "gone")),
        project("c", "carl"),
        member("a", "bob"),
        member("b", "bob"),
        member("b", "bob", gone=True),
        Event(type="project_deleted", category="project", project_id="gone", user_id="ann"),
        task_event("a1", "task_started", project_id="a", user_id="ann"),
        task_event("a1", "task_completed", project_id="a", user_id="ann"),
        task_event("a2", "task_started", project_id="a", user_id="ann"),
        task_event("c1", "task_started", project_id="c", user_id="carl"),
        task_event("own", "task_started", user_id="bob"),
    )
    return bench


def listing(bench: Bench) -> Listing:
    return Listing(bench.known, bench.access)


@pytest.mark.parametrize(
    ("who", "after", "limit", "expected"),
    [
        (ANN, "", 10, [("a", "owner", 2, 1), ("b", "owner", 1, 0)]),
        (BOB, "", 10, [("a", "viewer", 2, 1)]),
        (ROOT, "", 10, [("a", None, 2, 1), ("b", None, 1, 0), ("c", None, 1, 1)]),
        (ROOT, "", 2, [("a", None, 2, 1), ("b", None, 1, 0)]),
        (ROOT, "b", 2, [("c", None, 1, 1)]),
    ],
)
async def test_projects(
    bench: Bench, who: Identity, after: str, limit: int, expected: list[tuple[str, str | None, int, int]]
) -> None:
    found = await listing(bench).projects(who, after, limit)
    assert [(one.project.id, one.role, one.members, one.running) for one in found] == expected


@pytest.mark.parametrize(
    ("who", "project_id", "states", "limit", "expected"),
    [
        (ROOT, None, [], 10, ["own", "c1", "a2", "a1"]),
        (ROOT, None, [], 2, ["own", "c1"]),
        (ANN, None, [], 10, ["a2", "a1"]),
        (BOB, None, [], 10, ["own", "a2", "a1"]),
        (BOB, "a", [TaskState.RUNNING], 10, ["a2"]),
        (ROOT, None, [TaskState.COMPLETED, TaskState.FAILED], 10, ["a1"]),
        (ANN, "c", [], 10, []),
    ],
)
async def test_tasks(
    bench: Bench, who: Identity, project_id: str | None, states: list[TaskState], limit: int, expected: list[str]
) -> None:
    found = await listing(bench).tasks(who, project_id, states, limit)
    assert [task.id for task in found] == expected
