"""The projection of rights, in memory and in Postgres: what it holds is what the pure fold makes of the log."""

from collections.abc import AsyncIterator, Mapping
from random import Random

import asyncpg
import pytest
from lastseen.envelope import Event
from lastseen.record import encode

from consumers.partition import Partition
from service.adapters.memory import MemoryLog
from service.adapters.memory_rights import MemoryRights
from service.adapters.postgres.fence import Fenced
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.adapters.postgres.rights_store import RightsStore, Stretch
from service.domain.duplicates import LookBack
from service.domain.errors import HistoryUnavailable
from service.domain.records import read_record
from service.domain.rights import Rights
from service.ports import HeldRights, RightsLoader

PARTITIONS = 3
LOOK_BACK = 20
EPOCH = 1
TASKS = 40


class RightsUnderTest:
    """A projection of rights, and the log that it is of."""

    def __init__(self, loader: RightsLoader, log: MemoryLog) -> None:
        self.loader = loader
        self.log = log

    def add(self, event: Event, partition: int) -> int:
        """Append to the log; returns the offset."""
        record = encode(event)
        return self.log.append_raw(partition, record.value, record.headers).offset

    async def project(self, upto: Mapping[int, int] | None = None) -> None:
        """Fold what is in the log, or the part below the offsets `upto`."""
        raise NotImplementedError


class Twin(RightsUnderTest):
    def __init__(self) -> None:
        log = MemoryLog(PARTITIONS)
        self.twin = MemoryRights(log, LOOK_BACK, EPOCH)
        super().__init__(self.twin, log)

    async def project(self, upto: Mapping[int, int] | None = None) -> None:
        await self.twin.project(upto)


class Real(RightsUnderTest):
    """Folds by the consumer's own parts, from a log in memory instead of Kafka."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(PostgresRights(pool, EPOCH), MemoryLog(PARTITIONS))
        self.pool = pool
        self.store = RightsStore(pool, EPOCH, EPOCH)
        self.partitions = {number: Partition(number, 0, LookBack(LOOK_BACK)) for number in range(PARTITIONS)}

    async def project(self, upto: Mapping[int, int] | None = None) -> None:
        await self.store.next_offsets(range(PARTITIONS))
        stretches = []
        for number, (_, next_) in (await self.log.bounds()).items():
            partition, stop = self.partitions[number], next_ if upto is None else min(next_, upto.get(number, 0))
            async for batch in self.log.read(number, partition.next, max(stop, partition.next)):
                for raw in batch.records:
                    partition.add(raw)
                partition.pass_to(batch.next[number])
            if partition.has_moved:
                done = partition.take_batch()
                stretches.append(Stretch(number, done.first, done.next, [one.record for one in done.readable]))
        if stretches:
            await self.store.write(stretches)


@pytest.fixture
async def _twin() -> RightsUnderTest:
    return Twin()


@pytest.fixture
async def _real(database: str) -> AsyncIterator[Real]:
    async with open_pool(database) as pool:
        yield Real(pool)


@pytest.fixture
def real(_real: Real) -> Real:
    """The projection in Postgres, empty."""
    return _real


@pytest.fixture(params=["twin", "real"])
def projected(request: pytest.FixtureRequest) -> RightsUnderTest:
    """A projection of rights, empty."""
    found: RightsUnderTest = request.getfixturevalue(f"_{request.param}")
    return found


def random_event(random: Random) -> tuple[Event, int]:
    """An event that bears on rights, mostly in its project's partition."""
    project, user = random.choice(["p", "q", "r", None]), random.choice(["ann", "bob", "eve", None])
    if random.random() < 0.4:
        project = project or "p"
        type_ = random.choice(
            ["project_created", "project_deleted", "project_updated"] + ["project_member_added"] * 4
            + ["project_member_removed"] * 2
        )  # fmt: skip
        if type_ == "project_deleted":
            project = "r"  # for good: the others keep their members
        role = random.choice(["owner", "member", "viewer", None])
        data = {"user_id": random.choice(["ann", "bob", "eve"]), "role": role, "name": f"n{random.random()}"}
        fields = {"type": type_, "project_id": project, "user_id": user, "data": data}
    else:
        type_ = random.choice(
            ["task_output"] * 6 + ["task_started", "task_paused", "task_status_change", "task_completed", "build_step"]
        )
        fields = {
            "type": type_,
            "category": "task",
            "task_id": f"t{random.randrange(TASKS)}",
            "project_id": project,
            "user_id": user,
            "data": {"status": random.choice(["waiting", "running"])},
        }
    partition = ["p", "q", "r", None].index(project) % PARTITIONS
    # Some tasks' records are in a partition where they don't belong.
    if "task_id" in fields and random.random() < 0.1:
        partition = random.randrange(PARTITIONS)
    return Event.model_validate(fields), partition


async def folded(log: MemoryLog, upto: Mapping[int, int]) -> Rights:
    """What the pure fold makes of the log."""
    rights = Rights(EPOCH)
    for partition in range(PARTITIONS):
        look_back = LookBack(LOOK_BACK)
        async for batch in log.read(partition, 0, upto[partition]):
            for raw in batch.records:
                record = read_record(raw)
                if look_back.judge(record) is None:
                    rights.apply(record)
    return rights


def same(held: HeldRights, rights: Rights) -> bool:
    projects, members, tasks = rights.everything()
    return (
        sorted(held.projects) == sorted(projects)
        and sorted(held.members) == sorted(members)
        and {*held.tasks} == {*tasks}
    )


@pytest.mark.parametrize("seed", range(4))
async def test_it_holds_what_the_pure_fold_makes_of_the_log(projected: RightsUnderTest, seed: int) -> None:
    random = Random(seed)
    recent: list[tuple[Event, int]] = []
    for _ in range(8):
        for _ in range(random.randrange(30)):
            # A producer's retry: void where it comes soon enough.
            event, partition = random.choice(recent) if recent and random.random() < 0.2 else random_event(random)
            recent = [*recent[-15:], (event, partition)]
            projected.add(event, partition)
        ends = {number: held.next for number, held in (await projected.log.bounds()).items()}
        before = (await projected.loader.load(0)).next
        upto = {number: random.randrange(before.get(number, 0), next_ + 1) for number, next_ in ends.items()}
        await projected.project(upto)
        held = await projected.loader.load(10 * TASKS)
        assert {number: held.next.get(number, 0) for number in ends} == upto
        assert held.others == []
        assert same(held, await folded(projected.log, upto))


async def test_the_newest_tasks_are_loaded_and_any_is_found(projected: RightsUnderTest) -> None:
    for number in range(6):
        for type_ in ("task_started", "task_completed"):
            event = Event.model_validate({"type": type_, "task_id": f"t{number}", "user_id": f"u{number}"})
            projected.add(event, number % PARTITIONS)
    await projected.project()
    held = await projected.loader.load(2)
    assert len({task.id for task in held.tasks}) == 2
    assert held.others is not None
    assert set(held.others) == {f"t{number}" for number in range(6)} - {task.id for task in held.tasks}
    assert (await projected.loader.load(6)).others == []
    assert (await projected.loader.load(0)).tasks == []
    found = await projected.loader.task("t0")
    assert [(task.user, task.ended) for task in found.claims] == [("u0", True)]
    assert found.next == {0: 4, 1: 4, 2: 4}
    assert not (await projected.loader.task("unheard-of")).claims


async def test_members_leave_with_a_removal_or_with_their_project(projected: RightsUnderTest) -> None:
    def tell(type_: str, **more: object) -> None:
        projected.add(Event.model_validate({"type": type_, "project_id": "p", "user_id": "ann", **more}), 0)

    async def roles() -> dict[str, str | None]:
        await projected.project()
        return {member.user: member.role for member in (await projected.loader.load(0)).members}

    tell("project_created", data={"name": "Shop"})
    tell("project_member_added", data={"user_id": "bob", "role": "viewer"})
    assert await roles() == {"ann": "owner", "bob": "viewer"}
    tell("project_member_removed", data={"user_id": "bob"})
    assert await roles() == {"ann": "owner", "bob": None}
    tell("project_deleted")
    assert await roles() == {}
    tell("project_created")
    tell("project_member_added", data={"user_id": "carl"})
    assert await roles() == {}
    (project,) = (await projected.loader.load(0)).projects
    assert (project.name, project.deleted) == ("Shop", True)


async def test_a_project_is_created_behind_its_first_member(projected: RightsUnderTest) -> None:
    for type_, data in (("project_member_added", {"user_id": "bob"}), ("project_created", {"name": "Shop"})):
        projected.add(Event.model_validate({"type": type_, "project_id": "p", "user_id": "ann", "data": data}), 0)
        await projected.project()
    held = await projected.loader.load(0)
    assert {member.user: member.role for member in held.members} == {"ann": "owner", "bob": "member"}
    assert [project.name for project in held.projects] == ["Shop"]


async def test_two_that_fold_the_same_write_it_once(real: Real) -> None:
    real.add(Event.model_validate({"type": "project_created", "project_id": "p", "user_id": "ann"}), 0)
    await real.project()
    with pytest.raises(Fenced, match="another projection of rights has moved partition 0 at 0"):
        await real.store.write([Stretch(0, 0, 1, ())])
    assert (await real.loader.load(0)).next[0] == 1


async def test_without_postgres_it_says_so() -> None:
    async with open_pool("postgresql://nobody:x@127.0.0.1:1/none") as pool:
        loader = PostgresRights(pool, EPOCH)
        with pytest.raises(HistoryUnavailable):
            await loader.load(1)
        with pytest.raises(HistoryUnavailable):
            await loader.task("t")


async def test_a_twin_that_was_made_unavailable_says_so() -> None:
    twin = MemoryRights(MemoryLog(1))
    twin.available = False
    with pytest.raises(HistoryUnavailable):
        await twin.load(1)
    with pytest.raises(HistoryUnavailable):
        await twin.task("t")
