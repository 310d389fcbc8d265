"""A state and what follows its position are the whole: nothing falls between them, and nothing counts twice.

A node with a small window that forgets tasks, a projection that is behind it or ahead of it, a log writer that lags
and Postgres that goes away: states are asked for while all of it moves.
"""

import asyncio
from collections.abc import Sequence
from functools import reduce
from random import Random

from hypothesis import event, given, settings
from hypothesis import strategies as st
from lastseen.envelope import Event
from lastseen.names import PROJECT_STATE_TYPES, TASK_STATE_TYPES
from lastseen.positions import Position
from lastseen.task_state import ENDED, TaskView
from pydantic_core import from_json

from service.adapters.memory_cursors import MemoryCursors
from service.domain.errors import Unavailable
from service.domain.records import Record
from service.domain.rights import Rights
from service.node.states import ProjectAnswer, TaskAnswer
from service.settings import Settings
from tests.simulated_server import Server
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedRights, simulate

LOOK_BACK = 5
SETTINGS = Settings(window_bytes=4_000, window_offsets=4, look_back=LOOK_BACK, remembered_tasks=1)
TASKS = {"t": 0, "u": 0, "v": 1}
PROJECT_OF = ["p", "q"]
"""By partition."""

Answer = TaskAnswer | ProjectAnswer


def some_event(random: Random, number: int, partition: int) -> Event:
    """One of a task of the partition's project, or of the project itself."""
    project = {"project_id": PROJECT_OF[partition], "data": {"number": number}}
    if random.random() < 0.3:
        type_ = random.choice([*sorted(PROJECT_STATE_TYPES), *["project_member_added", "project_member_removed"] * 2])
        if random.random() < 0.03:
            type_ = "project_deleted"
        data = {"user_id": random.choice("abc"), "role": random.choice(["owner", "viewer"]), "number": number}
        return Event.model_validate({"type": type_, "user_id": "a", **project, "data": data})
    task = random.choice([name for name, at in TASKS.items() if at == partition])
    type_ = random.choice(["task_output", "task_progress_update", *sorted(TASK_STATE_TYPES - {"task_timeout"})])
    if type_ in ("task_completed", "task_failed", "task_cancelled") and random.random() < 0.8:
        type_ = "task_confirmation_required"
    status = {"status": random.choice(["running", "waiting", "paused", "completed", "odd", 3]), "number": number}
    told = {"data": status} if type_ == "task_status_change" else {}
    return Event.model_validate({"type": type_, "task_id": task, **project, **told})


def folded(records: Sequence[Record], begin: TaskView | None = None) -> TaskView:
    """What a reader of these records knows."""
    return reduce(TaskView.after, (from_json(record.value) for record in records), begin or TaskView())


def view_of(answer: TaskAnswer) -> TaskView:
    task, details = answer.task, answer.details
    return TaskView(task.project, task.started, task.state, details.progress, details.confirmation, details.result)


def check_task(log: SimulatedLog, task: str, answer: TaskAnswer | None) -> bool:
    """Whether there was something to check."""
    all_ = log.owed(f"task:{task}", LOOK_BACK)
    if answer is None:
        return False
    offsets = Position.parse(answer.position).offsets
    before = [record for record in all_ if record.offset <= offsets[record.partition]]
    behind = [record for record in all_ if record.offset > offsets[record.partition]]
    assert view_of(answer) == folded(before), answer.position
    assert folded(behind, view_of(answer)) == folded(all_)
    starts = [record.appended_at for record in before if record.type == "task_started"]
    assert (answer.task.fixed_by.appended_at if answer.task.started else None) == (starts[0] if starts else None)
    ends = [
        r.appended_at for r, view in zip(before, map(folded, _prefixes(before)), strict=True) if view.status in ENDED
    ]
    changed = answer.task.changed_by
    assert (changed.appended_at if answer.task.ended and changed else None) == (ends[0] if ends else None)
    return True


def _prefixes(records: Sequence[Record]) -> list[Sequence[Record]]:
    return [records[:count] for count in range(1, len(records) + 1)]


def check_project(log: SimulatedLog, project: str, answer: ProjectAnswer | None) -> bool:
    """Whether there was something to check."""
    if answer is None:
        return False
    offsets = Position.parse(answer.position).offsets
    before = [r for r in log.owed(f"project:{project}", LOOK_BACK) if r.offset <= offsets[r.partition]]
    rights = Rights(1)
    for record in before:
        rights.apply(record)
    assert answer.project == rights.project(project)
    assert {*answer.members} == {member for member in rights.members(project) if member.role is not None}
    said = [from_json(r.value)["data"] for r in before if r.type in PROJECT_STATE_TYPES]
    known = [
        data
        for data, r in zip(said, (r for r in before if r.type in PROJECT_STATE_TYPES), strict=True)
        if r.offset >= answer.project.since.offset and not answer.project.deleted
    ]
    assert answer.data == (known[-1] if known else None)
    return True


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 120))
def test_a_state_and_what_follows_are_the_whole(seed: int, steps: int) -> None:
    async def play() -> None:
        random = Random(seed)
        log = SimulatedLog(len(PROJECT_OF), random, tick_ms=1)
        history = SimulatedHistory(log, LOOK_BACK)
        rights = SimulatedRights(log, LOOK_BACK)
        server = Server(SETTINGS, log, history, rights, MemoryCursors())
        server.start()
        await server.ready()
        assert server.node is not None
        states = server.node.services.states
        asked: list[tuple[str, asyncio.Task[Answer | None]]] = []
        for number in range(steps):
            partition = random.randrange(len(PROJECT_OF))
            match random.randrange(8):
                case 0 | 1 | 2:
                    for _ in range(random.choice([1, 1, 5])):
                        log.add(partition, some_event(random, number, partition), random.choice([0, 0, 0, 2]))
                case 3 | 4:
                    server.step(partition, random.randint(1, 9))
                case 5:
                    await history.project({partition: history.next(partition) + random.randint(1, 20)})
                    log.drop_below(
                        partition, min(history.next(partition), server.next[partition]) - random.randrange(4)
                    )
                case 6 if random.random() < 0.2:
                    history.available = not history.available
                case _:
                    if random.random() < 0.7:
                        task = random.choice([*TASKS])
                        asked.append((task, asyncio.create_task(states.task(task))))
                    else:
                        project = random.choice(PROJECT_OF)
                        asked.append((project, asyncio.create_task(states.project(project))))
            for _ in range(random.choice([0, 0, 1, 2, 10])):
                await asyncio.sleep(0)
        # The node comes to the end, so that whoever waits for it goes on.
        for partition in range(len(PROJECT_OF)):
            server.step(partition, 10_000)
        answers = await asyncio.gather(*(asking for _, asking in asked), return_exceptions=True)
        checked = 0
        for (name, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer, Unavailable):
                continue
            assert not isinstance(answer, BaseException), answer
            if isinstance(answer, ProjectAnswer):
                checked += check_project(log, name, answer)
            else:
                checked += check_task(log, name, answer)
        event(f"checked {min(checked, 5)}")
        await server.stop()

    simulate(play)
