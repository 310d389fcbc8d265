"""What the node makes of published events, on the twins of log and history."""

import asyncio
from dataclasses import replace

import pytest
from lastseen.envelope import Event

from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.memory_rights import MemoryRights
from service.adapters.sends.python import send_all
from service.domain.duplicates import LookBack
from service.domain.errors import BadRequest, LogUnavailable
from service.domain.identity import Identity
from service.domain.rights import Rights
from service.domain.window import Window
from service.node.access import LogAccess
from service.node.connections import Connections
from service.node.enforcing import Enforcer
from service.node.fanout import Fanout
from service.node.head import Head
from service.node.publishing import Published, Publisher
from service.node.rights import KnownRights
from service.node.sources import Sources
from service.node.tail import Tail, TailStart
from service.ports import HeldTask
from tests.outside import NOTHING_HELD

PRODUCER = Identity("ci", "", frozenset(), frozenset({"publish"}), 0)
ADMIN = Identity("root", "admin", frozenset(), frozenset(), 0)


class Asked(MemoryRights):
    """The projection of rights, and who was asked for."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.asked: list[str] = []

    async def task(self, task_id: str) -> HeldTask:
        self.asked.append(task_id)
        return await super().task(task_id)


class Bench:
    """A publisher, with a tail that reads back when told to."""

    def __init__(self, log: MemoryLog | None = None, projection: Asked | None = None) -> None:
        self.log = log or MemoryLog(4)
        starts = dict.fromkeys(range(4), 0)
        window = Window(starts, 1_000_000)
        self.projection = projection or Asked(self.log)
        self.rights = KnownRights(Rights(1), self.projection, NOTHING_HELD._replace(others=None))
        head = Head(window, "e")
        sources = Sources(self.log, MemoryHistory(self.log), 1)
        access = LogAccess(self.rights, head, sources, settle_seconds=0.05, trust_claims=False)
        start = TailStart(starts, starts, {p: LookBack() for p in starts})
        enforcer = Enforcer(Connections(), self.rights)
        self._tail = Tail(self.log, window, start, head, access, enforcer, Fanout(send_all))
        self.publisher = Publisher(self.log, self.rights, self._tail, 10_000)

    async def publish(self, *events: dict[str, object], who: Identity = PRODUCER) -> list[Published | BadRequest]:
        return await self.publisher.publish(who, [Event.model_validate(event) for event in events])

    async def read_back(self) -> None:
        async with self.log.tail(dict.fromkeys(range(4), 0)) as reader:
            batch = await reader.read()
        self._tail.step(batch.records, batch.next)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def started(task: str = "t", **more: object) -> dict[str, object]:
    return {"type": "task_started", "task_id": task, **more}


def output(task: str = "t", **more: object) -> dict[str, object]:
    return {"type": "task_output", "task_id": task, **more}


def is_refused(answer: Published | BadRequest, code: str, field: str) -> bool:
    return isinstance(answer, BadRequest) and (answer.code, answer.field) == (code, field)


async def test_a_task_keeps_the_project_of_its_start(bench: Bench) -> None:
    first, filled, other = await bench.publish(started(project_id="p"), output(), output(project_id="q"))
    assert isinstance(first, Published)
    assert isinstance(filled, Published)
    assert filled.place.partition == first.place.partition, "one key, one order"
    assert is_refused(other, "conflict", "project_id")
    await bench.read_back()
    assert is_refused((await bench.publish(output(project_id="q")))[0], "conflict", "project_id")


async def test_the_project_is_found_in_the_projection_too(bench: Bench) -> None:
    await bench.publish(started(project_id="p"))
    await bench.projection.project()
    other = Bench(bench.log, bench.projection)
    (answer,) = await other.publish(output(project_id="q"))
    assert is_refused(answer, "conflict", "project_id")


async def test_publishing_does_not_need_the_projection(bench: Bench) -> None:
    bench.projection.available = False
    (answer,) = await bench.publish(output(project_id="p"))
    assert isinstance(answer, Published)


async def test_a_task_keeps_its_owner_for_life(bench: Bench) -> None:
    await bench.publish(started(project_id="p", user_id="ann"))
    assert is_refused((await bench.publish(started(project_id="p", user_id="bob")))[0], "conflict", "user_id")
    await bench.read_back()
    assert is_refused((await bench.publish(started(project_id="p", user_id="bob")))[0], "conflict", "user_id")
    assert isinstance((await bench.publish(started(project_id="p", user_id="ann")))[0], Published)


async def test_what_has_not_been_started_gets_its_project_by_its_start(bench: Bench) -> None:
    await bench.publish(output(project_id="p"))
    await bench.read_back()
    assert is_refused((await bench.publish(output(project_id="q")))[0], "conflict", "project_id")
    assert isinstance((await bench.publish(started(project_id="q"), who=ADMIN))[0], Published)
    assert is_refused((await bench.publish(output(project_id="p")))[0], "conflict", "project_id")


async def test_nobody_takes_a_task_over_by_starting_it(bench: Bench) -> None:
    await bench.publish(output(project_id="p", user_id="ann"))
    await bench.read_back()
    assert is_refused((await bench.publish(started(project_id="q")))[0], "conflict", "project_id")
    assert is_refused((await bench.publish(started(project_id="p", user_id="bob")))[0], "conflict", "user_id")
    assert isinstance((await bench.publish(started()))[0], Published)
    await bench.read_back()
    task = bench.rights.known("t")
    assert task is not None
    assert (task.project, task.user, task.started) == ("p", "ann", True), "what is not said stays"


async def test_a_start_may_say_what_was_not_said(bench: Bench) -> None:
    await bench.publish(output())
    await bench.read_back()
    assert isinstance((await bench.publish(started(project_id="p", user_id="ann")))[0], Published)


async def test_of_two_starts_at_once_one_has_the_task(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.publish(started(project_id=project)) for project in "pq"))
    first, second = (answer for (answer,) in answers)
    assert isinstance(first, Published)
    assert is_refused(second, "conflict", "project_id")


async def test_nodes_that_both_took_a_start_agree_once_they_have_read(bench: Bench) -> None:
    other = Bench(bench.log)
    benches = bench, other
    for one, project in zip(benches, "pq", strict=True):
        assert isinstance((await one.publish(started(project_id=project)))[0], Published)
    for one in benches:
        await one.read_back()
    for project in "pq":
        taken = {isinstance((await one.publish(output(project_id=project)))[0], Published) for one in benches}
        assert len(taken) == 1


@pytest.mark.parametrize("type_", ["user_online", "user_offline"])
async def test_only_the_service_tells_who_is_there(bench: Bench, type_: str) -> None:
    event: dict[str, object] = {"type": type_, "user_id": "ann"}
    assert is_refused((await bench.publish(event))[0], "reserved_type", "type")


async def test_a_retry_is_answered_with_the_first_place_and_appended_once(bench: Bench) -> None:
    first, again = await bench.publish(output(id="x"), output(id="x"))
    assert isinstance(first, Published)
    assert isinstance(again, Published)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.place == first.place
    await bench.read_back()
    before = await bench.log.bounds()
    (later,) = await bench.publish(output(id="x"))
    assert isinstance(later, Published)
    assert later.duplicate
    assert later.place == first.place
    assert await bench.log.bounds() == before


async def test_a_retry_is_recognised_before_the_tail_has_read_the_first(bench: Bench) -> None:
    (first,) = await bench.publish(output(id="x"))
    before = await bench.log.bounds()
    (again,) = await bench.publish(output(id="x"))
    assert isinstance(first, Published)
    assert again == replace(first, duplicate=True)
    assert await bench.log.bounds() == before


async def test_a_retry_of_what_was_not_acknowledged_is_appended(bench: Bench) -> None:
    bench.log.available = False
    with pytest.raises(LogUnavailable):
        await bench.publish(output(id="x"), started("other", project_id="p"))
    bench.log.available = True
    retried, elsewhere = await bench.publish(output(id="x"), started("other", project_id="q"))
    assert isinstance(retried, Published)
    assert not retried.duplicate
    assert isinstance(elsewhere, Published), "what was not acknowledged fixes no project"


async def test_a_start_that_is_refused_fixes_no_project(bench: Bench) -> None:
    refused, out = await bench.publish(started(project_id="p", data={"text": "x" * 20_000}), output(project_id="q"))
    assert is_refused(refused, "too_large", "data")
    assert isinstance(out, Published)


async def test_the_project_of_a_start_counts_though_the_projection_is_away(bench: Bench) -> None:
    bench.projection.available = False
    first, filled = await bench.publish(started(project_id="p"), output())
    assert isinstance(first, Published)
    assert isinstance(filled, Published)
    assert filled.place.partition == first.place.partition
    (later,) = await bench.publish(output())
    assert isinstance(later, Published)
    assert later.place.partition == first.place.partition


async def test_a_task_that_has_ended_is_not_started_again(bench: Bench) -> None:
    start = started(id="the-start")
    await bench.publish(start, {"type": "task_completed", "task_id": "t"})
    await bench.read_back()
    again, retry = await bench.publish(started(id="another"), start)
    assert is_refused(again, "conflict", "task_id")
    assert isinstance(retry, Published), "a late retry of the first start is that start"
    assert retry.duplicate
    assert is_refused((await bench.publish(output()))[0], "conflict", "task_id"), "it would be void"


@pytest.mark.parametrize("type_", ["project_created", "project_deleted", "project_member_added"])
async def test_rights_need_a_scope_of_their_own(bench: Bench, type_: str) -> None:
    event: dict[str, object] = {"type": type_, "project_id": "p", "data": {"user_id": "new"}}
    assert is_refused((await bench.publish(event))[0], "forbidden", "type")
    assert isinstance((await bench.publish(event, who=ADMIN))[0], Published)


async def test_each_event_of_an_array_is_judged_by_itself(bench: Bench) -> None:
    answers = await bench.publish(
        output(data={"text": "x" * 20_000}), output(data={"text": "\0"}), output(data={"text": "fine"})
    )
    assert is_refused(answers[0], "too_large", "data")
    assert is_refused(answers[1], "nul", "data.text")
    assert isinstance(answers[2], Published)


async def test_one_request_asks_once_for_a_task_that_nobody_knows(bench: Bench) -> None:
    await bench.publish(*(output("unheard-of") for _ in range(5)))
    assert bench.projection.asked == ["unheard-of"]


async def test_the_id_of_a_deleted_project_is_not_given_again(bench: Bench) -> None:
    created: dict[str, object] = {"type": "project_created", "project_id": "p", "id": "first"}
    await bench.publish(created, {"type": "project_deleted", "project_id": "p"}, who=ADMIN)
    await bench.read_back()
    again, anew = await bench.publish(created, created | {"id": "second"}, who=ADMIN)
    assert isinstance(again, Published), "what was sent before the deletion, sent again"
    assert is_refused(anew, "conflict", "project_id")
