"""What a node judges by: its memory, what it has forgotten, and what has not come to it yet."""

from collections.abc import Mapping

import pytest
from lastseen.envelope import Event
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.memory_rights import MemoryRights
from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.identity import Identity
from service.domain.records import read_record
from service.domain.rights import Rights
from service.domain.window import Window
from service.node.access import LogAccess
from service.node.head import Head
from service.node.rights import KnownRights
from service.node.sources import Sources
from service.ports import Bounds
from tests.raw import raw_of, task_event

ANN = Identity("ann", "", frozenset(), frozenset(), 2**40)
BOB = Identity("bob", "", frozenset({"p"}), frozenset(), 2**40)


class Bench:
    """A log of one partition, a projection that folds when told to, and a node that has read some of it."""

    def __init__(self, log: MemoryLog | None = None, *, tasks: int = 10, trust_claims: bool = False) -> None:
        self.log = log or MemoryLog(1)
        self.projection = MemoryRights(self.log)
        self.window = Window({0: 0}, 100_000)
        self.head = Head(self.window, "e")
        self.tasks = tasks
        self.trust_claims = trust_claims

    async def load(self) -> None:
        """Begin as a node does, with what the projection holds."""
        held = await self.projection.load(self.tasks)
        self.known = KnownRights(Rights(1, self.tasks), self.projection, held)
        sources = Sources(self.log, MemoryHistory(self.log), 1)
        self.access = LogAccess(self.known, self.head, sources, settle_seconds=0.05, trust_claims=self.trust_claims)

    async def append(self, *events: Event, read: bool = True) -> None:
        await self.log.append([encode(event) for event in events])
        if read:
            await self.read()

    async def read(self) -> None:
        async for batch in self.log.read(0, self.window.next(0), (await self.log.bounds())[0].next):
            for raw in batch.records:
                record = read_record(raw)
                self.window.append(record)
                self.access.note(record)
        self.head.move()

    async def may(self, who: Identity, channel: str) -> bool | Unavailable:
        surely = self.access.surely_may(who, [channel])
        verdict = (await self.access.judge(who, [channel]))[channel]
        assert verdict is True or not surely, "what is sure needs no asking"
        return verdict


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.load()
    return bench


def member(verb: str, user: str, role: str = "member") -> Event:
    """A change of the members of project p."""
    return Event.model_validate(
        {"type": f"project_member_{verb}", "project_id": "p", "data": {"user_id": user, "role": role}}
    )


START = task_event("t", "task_started", project_id="p", user_id="carl")


async def test_what_has_not_been_read_yet_is_waited_for_before_a_denial(bench: Bench) -> None:
    await bench.append(member("added", "ann"), START, read=False)
    late = await bench.may(ANN, "project:p")
    assert isinstance(late, Unavailable), "the node is behind the log, so it can't deny"
    bounds = bench.log.bounds

    async def read_meanwhile() -> Mapping[int, Bounds]:
        bench.log.bounds = bounds  # type: ignore[method-assign]
        await bench.read()
        return await bounds()

    bench.log.bounds = read_meanwhile  # type: ignore[method-assign]
    assert await bench.may(ANN, "project:p") is True
    assert await bench.may(ANN, "task:t") is True
    assert await bench.may(BOB, "task:t") is False
    assert await bench.may(BOB, "project:p") is False, "a claim counts only where it is trusted"


async def test_what_is_known_here_is_sure_and_nothing_else(bench: Bench) -> None:
    await bench.append(member("added", "ann"), START)
    admin = Identity("root", "admin", frozenset(), frozenset(), 2**40)
    sure = ["project:p", "task:t", "user:ann", "broadcast"]
    assert bench.access.surely_may(ANN, sure)
    for name in ("system", "user:bob", "project:q", "task:unknown", "no channel", "x" * 1_000):
        assert not bench.access.surely_may(ANN, [*sure, name])
        assert not bench.access.surely_may(BOB, [name]) or name == "user:bob"
    assert bench.access.surely_may(admin, ["system", "project:q", "task:t"])
    assert not bench.access.surely_may(admin, ["task:unknown"]), "it is got to know first"
    await bench.append(member("removed", "ann"))
    assert not bench.access.surely_may(ANN, ["project:p"])


async def test_a_claim_counts_where_it_is_trusted_and_a_removal_beats_it() -> None:
    bench = Bench(trust_claims=True)
    await bench.load()
    await bench.append(START)
    assert await bench.may(BOB, "project:p") is True
    assert await bench.may(BOB, "task:t") is True
    await bench.append(member("removed", "bob"))
    assert await bench.may(BOB, "project:p") is False
    assert await bench.may(BOB, "task:t") is False
    await bench.append(member("added", "bob"))
    assert await bench.may(BOB, "project:p") is True


async def test_what_was_loaded_is_not_folded_a_second_time() -> None:
    log = MemoryLog(1)
    await log.append([encode(member("added", "ann")), encode(member("removed", "ann"))])
    bench = Bench(log)
    await bench.projection.project()
    await bench.load()
    # The window begins before the projection's end: the addition is read again, the removal not yet.
    async for batch in log.read(0, 0, 1):
        for raw in batch.records:
            assert bench.access.note(read_record(raw)) is None
    assert not bench.access.still_may(ANN, "project:p")


async def test_a_task_that_was_forgotten_is_asked_for() -> None:
    bench = Bench(tasks=1)
    await bench.load()
    await bench.append(member("added", "ann"), START, task_event("other", "task_started", project_id="q"))
    assert bench.known.known("t") is None
    behind = await bench.may(ANN, "task:t")
    assert isinstance(behind, HistoryUnavailable), "the projection has not come as far as what was forgotten"
    await bench.projection.project()
    assert await bench.may(ANN, "task:t") is True
    assert await bench.may(ANN, "task:other") is False
    bench.projection.available = False
    assert isinstance(await bench.may(ANN, "task:t"), Unavailable)
    assert await bench.may(ANN, "project:p") is True, "members are all known"


async def test_who_may_act_on_a_task(bench: Bench) -> None:
    await bench.append(member("added", "ann", "viewer"), START)
    carl = Identity("carl", "", frozenset(), frozenset(), 2**40)
    assert await bench.access.may_execute(ANN, "t") is False, "a viewer"
    assert await bench.access.may_execute(carl, "t") is True, "its user"
    assert await bench.access.may_execute(carl, "unknown") is False
    await bench.append(member("added", "ann", "owner"))
    assert await bench.access.may_execute(ANN, "t") is True
    bench.log.available = False
    assert isinstance(await bench.access.may_execute(BOB, "t"), Unavailable), "it may have been given a moment ago"


async def test_who_may_start_tasks(bench: Bench) -> None:
    assert await bench.access.may_start(ANN, "p") is False
    await bench.append(member("added", "ann", "viewer"))
    assert await bench.access.may_start(ANN, "p") is False
    await bench.append(member("added", "ann", "member"))
    assert await bench.access.may_start(ANN, "p") is True
    bench.log.available = False
    assert await bench.access.may_start(ANN, "p") is True
    assert isinstance(await bench.access.may_start(BOB, "p"), Unavailable), "it may have been given a moment ago"


async def test_a_task_that_somebody_watches_is_not_forgotten() -> None:
    bench = Bench(tasks=1)
    await bench.load()
    bench.known.watched("task:t")
    await bench.append(START, *(task_event(f"other-{n}", "task_started", project_id="q") for n in range(5)))
    assert bench.known.known("t") is not None
    assert bench.known.known("other-4") is not None, "never heard of before, so what has come is all"
    assert bench.known.known("other-3") is None
    bench.known.unwatched("task:t")
    await bench.append(task_event("another", "task_started", project_id="q"))
    await bench.append(task_event("yet-another", "task_started", project_id="q"))
    assert bench.known.known("t") is None


async def test_what_contradicts_its_task_is_not_for_the_task_s_readers(bench: Bench) -> None:
    await bench.append(START)

    def said(**fields: str) -> bool:
        type_ = fields.pop("type_", "task_output")
        return bench.access.contradicts(read_record(raw_of(0, 99, task_event("t", type_, **fields))))

    assert not said(project_id="p")
    assert not said(), "a careless producer that names no project"
    assert said(project_id="q")
    assert said(type_="task_started", project_id="p", user_id="mallory")
    assert not said(type_="task_started", project_id="p", user_id="carl")
    assert not said(project_id="p", user_id="ann"), "whoever wrote it"
