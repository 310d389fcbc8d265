"""A crowd that is cut off and returns at once: seconds and CPU until all have what they missed, out of memory alone.

Every client is checked for exactly the events of its three channels, each once and in order, and Postgres must not be
asked anything meanwhile: otherwise there is no figure but an error. Somebody who has stayed watches other events
through it all.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import asyncpg
from lastseen.record import NewRecord

from benchmarks.crowd import Order, Result
from benchmarks.latency import Send, watched
from benchmarks.measured import Pair, Row
from benchmarks.missed import Amounts, make_missed, write_missed
from benchmarks.processes import SECRET, NodeProcess, cpu_seconds, node, running
from benchmarks.projects import append_all, members, project_of, until_read, user_of
from benchmarks.site import Ground, Site
from service.adapters.kafka.log import KafkaLog, open_log
from service.embedded.free_ports import HOST
from service.ports import Place

T = TypeVar("T")

PROJECTS: Final = 100
RETURN_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 10
AMOUNTS: Final = Amounts(shared=80, project=60, own=60)
WAYS: Final = {"return": "by the hand-shake alone", "ask": "each asking for its project"}
"""How they come back, by the crowd's word for it."""
_RATE: Final = 100
"""Events a second for who has stayed."""
_WINDOW_BYTES: Final = 1024 * 1024 * 1024
_APPENDERS: Final = 4
_BATCH: Final = 1_000
_SECONDS: Final = 900.0
_SESSIONS: Final = """
    SELECT pid, query_start, query FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'"""
_SESSIONS_SO_FAR: Final = "SELECT sessions FROM pg_stat_database WHERE datname = $1"
_EPOCH: Final = "FROM epoch"
_EPOCH_SECONDS: Final = 2.0
_TIDYING: Final = "pg_advisory_unlock_all"
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """How many return, after how long, and how many events a viewer who has stayed is sent meanwhile."""

    clients: int
    projects: int
    amounts: Amounts
    settle_seconds: float
    away_seconds: float
    watched: int

    def row(self, how: str, what: str) -> str:
        return (
            f"{self.clients:,} clients return within {RETURN_SECONDS:g} s for {self.amounts.each} events each over 3 "
            f"channels, {how}: {what}"
        )


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    case = Case(
        site.clients or site.sized(10_000, 200),
        site.sized(PROJECTS, 10),
        site.sized(AMOUNTS, Amounts(16, 12, 12)),
        site.sized(SETTLE_SECONDS, 0.5),
        site.sized(AWAY_SECONDS, 0.5),
        site.sized(4 * _RATE, 100),
    )
    storms: dict[str, list[Storm]] = {word: [] for word in WAYS}
    limits: list[Storm] = []
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(site.ground())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        settings = {
            # Where each client is, it knows by the heartbeats; it gives no sign of life of its own.
            "LASTSEEN_HEARTBEAT_SECONDS": str(site.sized(HEARTBEAT_SECONDS, 1)),
            "LASTSEEN_WINDOW_BYTES": str(_WINDOW_BYTES),
        }
        served = await stack.enter_async_context(node(site, ground, **settings))
        await append_all(log, members(case.clients, case.projects))
        await until_read(log, served)
        crowd = await stack.enter_async_context(_crowd(site, served, case))
        memory = served.memory_bytes()
        await crowd.tell("come")
        each = (served.memory_bytes() - memory) / case.clients
        await crowd.tell("cut")
        await _miss(log, case, crowd.missed)
        await until_read(log, served)
        quiet = (await watched(site, served.viewing, _sender(log), _RATE, case.watched)).p99
        sessions = await stack.enter_async_context(_sessions(site, ground))
        for _ in range(min(site.pairs, 3)):
            for word, took in storms.items():
                await asyncio.sleep(case.away_seconds)
                took.append(await _storm(site, log, served, case, crowd, sessions, word))
                await crowd.tell("cut")
        bare = await stack.enter_async_context(_bare(site, storms["return"][0].result["bytes"] // case.clients))
        for _ in storms["return"]:
            limits.append(await bare.storm(crowd))
            await crowd.tell("cut")
    site.tell(f"storm: {each / 1024:.1f} KiB of the node's memory a connection; no statement ran in Postgres meanwhile")
    return [row for word, took in storms.items() for row in _rows(case, WAYS[word], took, limits, quiet)]


class Storm(NamedTuple):
    """One return. `p99` is of whoever has stayed, in ms; the bare loop has nobody else."""

    result: Result
    cpu_seconds: float
    p99: float = 0.0


def _rows(case: Case, how: str, storms: Sequence[Storm], limits: Sequence[Storm], quiet: float) -> list[Row]:
    limit = "a bare loop of accept, recv and send of as many ready bytes, from Python"
    both = list(zip(storms, limits, strict=True))
    seconds = [Pair(one.result["seconds"], bare.result["seconds"]) for one, bare in both]
    used = [Pair(one.cpu_seconds, bare.cpu_seconds) for one, bare in both]
    late = [Pair(one.p99, quiet) for one in storms]
    return [
        Row("storm", case.row(how, "until the last has caught up"), "s", limit, seconds),
        Row("storm", case.row(how, "CPU of the server's process"), "CPU-s", limit, used),
        Row("storm", f"append → viewer who has stayed, p99 while they return, {how}", "ms", "the same before it", late),
    ]


async def _storm(
    site: Site, log: KafkaLog, served: NodeProcess, case: Case, crowd: "CrowdProcess", sessions: "Sessions", word: str
) -> Storm:
    is_watching = asyncio.Event()
    send = _sender(log, is_watching)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watched(site, served.viewing, send, _RATE, case.watched))
        await is_watching.wait()
        before = served.cpu_seconds()
        result, asked = await sessions.asked_during(crowd.come_back(word, served.port))
        used = served.cpu_seconds() - before
        if asked:
            raise RuntimeError(f"the node asked Postgres for something while the crowd returned: {asked[:3]}")
    if result["events"] != case.clients * case.amounts.each:
        raise RuntimeError(f"{result['events']:,} events came, not {case.clients * case.amounts.each:,}")
    site.tell(f"storm: {result['seconds']:.2f} s, the median client {result['median']:.2f} s, {used:.2f} s of CPU")
    return Storm(result, used, watching.result().p99)


def _sender(log: KafkaLog, began: asyncio.Event | None = None) -> Send:
    """What appends records; `began` is set with the first."""

    async def append(records: Sequence[NewRecord]) -> object:
        if began is not None:
            began.set()
        return await log.append(records)

    return append


def _users(case: Case) -> list[str]:
    return [user_of(number) for number in range(case.clients)]


async def _miss(log: KafkaLog, case: Case, file: Path) -> None:
    """Append what the crowd misses, and write down what that is."""
    projects = [project_of(number, case.projects) for number in range(case.projects)]
    missed: dict[str, list[tuple[Place, int]]] = defaultdict(list)
    making = make_missed(case.amounts, projects, _users(case))

    async def append() -> None:
        while batch := list(islice(making, _BATCH)):
            places = await log.append([record for _, _, record in batch])
            for (channel, number, _), place in zip(batch, places, strict=True):
                missed[channel].append((place, number))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_APPENDERS):
            tasks.create_task(append())
    write_missed(file, missed)


class CrowdProcess:
    """The process of the clients; see `benchmarks.crowd`."""

    def __init__(self, process: asyncio.subprocess.Process, missed: Path, log: Path) -> None:
        self.missed = missed
        self._process = process
        self._log = log

    async def tell(self, line: str) -> bytes:
        """Tell it something; its answer. Raises RuntimeError when it has ended."""
        assert self._process.stdin is not None, "piped"
        assert self._process.stdout is not None, "piped"
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(_SECONDS):
            answer = await self._process.stdout.readline()
        if not answer:
            await self._process.wait()
            raise RuntimeError(f"the crowd has ended: {self._log.read_text()[-1000:]}")
        return answer

    async def come_back(self, word: str, port: int) -> Result:
        """Let all return to a port, in one of the WAYS."""
        result: Result = json.loads(await self.tell(f"{word} {port}"))
        return result


@asynccontextmanager
async def _crowd(site: Site, served: NodeProcess, case: Case) -> AsyncIterator[CrowdProcess]:
    async with running(site, "benchmarks.crowd", piped=True) as process:
        crowd = CrowdProcess(process, site.folder / "missed", site.folder / "benchmarks.crowd.log")
        order = Order(
            host=HOST,
            port=served.port,
            secret=SECRET,
            clients=case.clients,
            projects=case.projects,
            seconds=RETURN_SECONDS,
            missed=str(crowd.missed),
            settle_seconds=case.settle_seconds,
        )
        await crowd.tell(json.dumps(order))
        yield crowd


class BareProcess:
    """The bare loop; see `benchmarks.bare_storm`."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._port = port

    async def storm(self, crowd: CrowdProcess) -> Storm:
        """One return to it."""
        before = cpu_seconds(self._pid)
        result = await crowd.come_back("return", self._port)
        return Storm(result, cpu_seconds(self._pid) - before)


@asynccontextmanager
async def _bare(site: Site, size: int) -> AsyncIterator[BareProcess]:
    async with running(site, "benchmarks.bare_storm", str(size), "caught_up", piped=True) as process:
        assert process.stdout is not None, "piped"
        yield BareProcess(process.pid, int(await process.stdout.readline()))


class Sessions:
    """What ran in the database of a node, seen from another one.

    Postgres counts transactions too, but seconds late, and its own vacuuming among them. Each session tells at once
    when its last statement began, and which, and sessions are counted as they end. A node asks every two seconds
    whether its epoch is the present one, which is no return's doing; its pool tidies up behind each statement, so there
    may be one tidying more than that time has such questions, and no other.
    """

    def __init__(self, connection: asyncpg.Connection, database: str) -> None:
        self._connection = connection
        self._database = database

    async def asked_during(self, doing: Awaitable[T]) -> tuple[T, Sequence[str]]:
        """What is done, and the statements that ran meanwhile."""
        sessions, before = await self._seen()
        if not before:
            raise RuntimeError("the node has no session in Postgres: it could not have asked anything")
        asked: set[tuple[int, object, str]] = set()
        started = time.monotonic()
        task = asyncio.ensure_future(doing)
        while not task.done():
            await asyncio.wait([task], timeout=_LOOK_SECONDS)
            asked |= (await self._seen())[1]
        more = (await self._seen())[0] - sessions
        ran = [query for _, _, query in asked - before if _EPOCH not in query]
        tidied = sum(_TIDYING in query for query in ran)
        allowed = int((time.monotonic() - started) / _EPOCH_SECONDS) + 1
        told = [query for query in ran if _TIDYING not in query] + ["something"] * max(tidied - allowed, 0)
        return task.result(), [*told, *["a session of its own"] * more]

    async def _seen(self) -> tuple[int, set[tuple[int, object, str]]]:
        """How many sessions there were so far, and of those there are: which, when it asked last, and what."""
        counted = await self._connection.fetchval(_SESSIONS_SO_FAR, self._database)
        rows = await self._connection.fetch(_SESSIONS, self._database)
        return counted, {(row["pid"], row["query_start"], row["query"]) for row in rows}


@asynccontextmanager
async def _sessions(site: Site, ground: Ground) -> AsyncIterator[Sessions]:
    connection = await asyncpg.connect((await site.servers()).admin_url)
    try:
        yield Sessions(connection, urlsplit(ground.database_url).path.removeprefix("/"))
    finally:
        await connection.close()
