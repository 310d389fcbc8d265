"""Every subscription gets every event of its channel, once and in order, whatever moves meanwhile.

Two nodes with small windows, a log writer that lags, retention that passes, a Postgres and a Kafka that go away,
records that are void, that nobody can use or that Postgres refuses, clients that are cut, slow, and come back to
either node: schedules of all of it at random, against the node's own code and the client's own session. What is owed
is computed from the log alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lastseen.envelope import Event
from lastseen.names import LEFT_OUT_OFFLINE
from lastseen.notices import Ask, Begun, Delivery, Gap, Message, OfflineDelayed, Ping, Refused
from lastseen.positions import Position
from lastseen.session import Session
from lastseen.transitions import State

from service.adapters.memory_cursors import MemoryCursors
from service.domain.identity import Identity
from service.domain.records import Record
from service.node import log_pages
from service.settings import Settings
from tests.simulated_server import Line, Server
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedPort, SimulatedRights, simulate

PARTITIONS = 2
LOOK_BACK = 5
SETTINGS = Settings(
    window_bytes=4_000, window_offsets=4, high_water_bytes=1_024, look_back=LOOK_BACK, heartbeat_seconds=1
)
USER = Identity("u", "admin", frozenset(), frozenset(), 2**40)
PROJECT = "p"
CHANNELS = ["user:u", "broadcast", "project:p", "project:q", "task:a", "task:b", "system"]


@pytest.fixture(scope="module", autouse=True)
def _short_pages() -> Iterator[None]:
    """Readers of Kafka begin at different pages, in logs as short as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_pages, "_ALIGNED", 4)
        yield


class Client:
    """One client that follows the rules, with what it was given and told."""

    client_id: str | None = None
    must_return = False
    """Whether it was told to come again for what came while it was away."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.session = Session()
        self.port: SimulatedPort | None = None
        self.line: Line | None = None
        self.begun: dict[str, Position] = {}
        self.got: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.gaps: list[Gap] = []
        self.heads: dict[int, int] = {}
        """The head that what came while away goes up to on the present connection; empty where it is not coming."""
        self.passed: dict[int, int] = {}
        """How far it had come with that on connections that broke: what was left out there need not come again."""
        self.was_delayed = False
        """Whether live events came before what came while it was away."""

    async def connect(self, server: Server) -> None:
        await self.cut()
        self.must_return = False
        assert server.node is not None
        self.port = SimulatedPort(server.node.services.low_water)
        self.line = Line(server, self.port, USER)
        resume = self.session.resume()
        for message in resume.messages:
            self.line.send(message)
        self.line.open(PROJECT, resume.after, self.client_id)

    async def cut(self) -> None:
        """The connection breaks; what was on its way is lost."""
        if self.line is not None:
            await self.line.cut()
        self.line = self.port = None
        position = self.session.position("user:u")
        if self.session.owes_offline and position is not None:
            for partition, head in self.heads.items():
                came = min(head, position.offsets.get(partition, -1))
                self.passed[partition] = max(came, self.passed.get(partition, -1))
        self.session.on_disconnected()

    def _send(self, message: Message) -> None:
        if self.line is not None:
            self.line.send(message)

    def subscribe(self, channel: str) -> None:
        self._send(self.session.subscribe(channel))

    def read(self, count: int) -> int:
        """Read up to `count` messages; how many there were."""
        if self.port is None:
            return 0
        messages = self.port.read(count)
        for message in messages:
            if message["type"] == "connection_established" and self.session.owes_offline:
                own, other = message["subscriptions"][:2]
                self.heads = {} if own["live"] else dict(Position.parse(other["position"]).offsets)
            for item in self.session.receive(message):
                self._take(item)
        return len(messages)

    def _take(self, item: object) -> None:
        match item:
            case Delivery(event, channels):
                for channel in channels:
                    self.got[channel].append((event["partition"], event["offset"]))
            case Begun(channel, position):
                first = self.begun.setdefault(channel, position)
                if channel == "user:u" and self.session.owes_offline:
                    # Where another node begins lower, what lies up to where it has come is not told again.
                    self.begun[channel] = first.lowered(self.session.position(channel) or position)
            case Ask(message):
                self._send(message)
            case OfflineDelayed():
                self.was_delayed = self.must_return = True
            case Gap():
                self.gaps.append(item)
            case Ping():
                self._send({"type": "pong"})
            case Refused(channel, _, code) if code in ("history_unavailable", "unavailable"):
                self.subscribe(channel)
            case Refused(channel, message, code):
                pytest.fail(f"{channel}: {message} ({code})")
            case _:
                pass

    def check(self, log: SimulatedLog, history: SimulatedHistory) -> None:
        """All that is owed came once and in order; what is missing was announced, and is really gone."""
        for channel, begin in self.begun.items():
            got = self.got[channel]
            owed = {
                (r.partition, r.offset)
                for r in log.owed(channel, LOOK_BACK)
                if r.offset > begin.offsets.get(r.partition, -2)
            }
            assert len(set(got)) == len(got), f"{channel}: doubled {[p for p in got if got.count(p) > 1]}"
            for partition in range(PARTITIONS):
                offsets = [offset for p, offset in got if p == partition]
                in_order = offsets == sorted(offsets) or (self.was_delayed and channel == "user:u")
                assert in_order, f"{channel}: out of order"
            assert set(got) <= owed, f"{channel}: not owed {set(got) - owed}"
            told = {place for gap in self.gaps if channel in gap.channels and (place := quarantined(gap)) is not None}
            refused = {(r.partition, r.offset) for r in log.owed(channel, LOOK_BACK) if is_refused(r)}
            unusable = log.unusable.get(channel, set())
            assert told <= unusable | refused, f"{channel}: told of {told - unusable - refused}"
            for partition, offset in unusable - told:
                is_owed = offset > begin.offsets.get(partition, -2)
                assert not is_owed or self._was_announced(channel, partition, offset), (
                    f"{channel}: {partition}:{offset}"
                )
            for partition, offset in owed - set(got) - self._left_out(log, channel) - told:
                assert self._was_announced(channel, partition, offset), f"{channel}: lost {partition}:{offset}"
                held = offset >= log.first(partition) or history.holds(partition, offset)
                assert not held, f"{channel}: false gap over {partition}:{offset}"

    @property
    def losses(self) -> list[Gap]:
        """The gaps over what nobody holds any more."""
        return [gap for gap in self.gaps if gap.reason != "quarantine"]

    def _left_out(self, log: SimulatedLog, channel: str) -> set[tuple[int, int]]:
        """What need not come on the user's channel: it was not among what came while away."""
        head = self._head_at_connect() if channel == "user:u" else {}
        return {
            (record.partition, record.offset)
            for record in log.owed("user:u", LOOK_BACK)
            if record.type in LEFT_OUT_OFFLINE and record.offset <= head.get(record.partition, -1)
        }

    def _head_at_connect(self) -> Mapping[int, int]:
        # A connection to a node that is behind begins below what was passed over on another.
        return {p: max(self.heads.get(p, -1), self.passed.get(p, -1)) for p in range(PARTITIONS)}

    def _was_announced(self, channel: str, partition: int, offset: int) -> bool:
        return any(
            channel in gap.channels
            and gap.requested.offsets.get(partition, -2) < offset <= gap.earliest.offsets[partition]
            for gap in self.losses
        )


def is_refused(record: Record) -> bool:
    """Whether Postgres does not take a record: some it does not."""
    return record.id.endswith("3")


def gap_of(message: Message) -> Gap:
    """The gap that a message tells."""
    requested, earliest = Position.parse(message["requested"]), Position.parse(message["earliest"])
    return Gap(tuple(message["channels"]), requested, earliest, message["reason"])


def quarantined(gap: Gap) -> tuple[int, int] | None:
    """Where the record lies that a gap stands for: at its end, in the one partition in which it has one."""
    if gap.reason != "quarantine":
        return None
    requested, earliest = gap.requested.offsets, gap.earliest.offsets
    (partition,) = [p for p in earliest if earliest[p] != requested[p]]
    assert earliest[partition] == requested[partition] + 1
    return partition, earliest[partition]


class PlainClient(Client):
    """A client that has no idea of positions: on one connection it must see nothing twice, and nothing old."""

    async def connect(self, server: Server) -> None:
        self.session = Session()

        self.starts: dict[str, Position] = {}
        self.seen: set[tuple[int, int]] = set()
        self.gaps = []
        self.seen_at = dict.fromkeys(range(PARTITIONS), -2)
        await super().connect(server)

    def read(self, count: int) -> int:
        messages = self.port.read(count) if self.port is not None else []
        for message in messages:
            match message["type"]:
                case "connection_established":
                    self.starts |= {s["channel"]: Position.parse(s["position"]) for s in message["subscriptions"]}
                case "subscription_result":
                    # Subscribed again, the stream goes on as it is.
                    self.starts.setdefault(message["channel"], Position.parse(message["position"]))
                case "error":
                    assert message["code"] in ("unavailable", "history_unavailable"), message
                case "gap":
                    self._hear_gap(gap_of(message))
                case _ if "offset" in message:
                    self._see(message)
                case _:
                    pass
        return len(messages)

    def _hear_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        place = quarantined(gap)
        if place is not None:
            partition, offset = place
            assert offset > self.seen_at[partition], f"the gap at {place} came after {self.seen_at[partition]}"
            self.seen_at[partition] = offset
            assert any(offset > self.starts[channel].offsets[partition] for channel in gap.channels), gap

    def _see(self, event: Message) -> None:
        partition, offset = event["partition"], event["offset"]
        assert offset > self.seen_at[partition], f"{partition}:{offset} came after {self.seen_at[partition]}"
        self.seen_at[partition] = offset
        self.seen.add((partition, offset))
        counted = [channel for channel in event.get("replay") or event["channels"] if channel in self.starts]
        assert any(offset > self.starts[channel].offsets[partition] for channel in counted), event

    def _head_at_connect(self) -> Mapping[int, int]:
        return self.starts["broadcast"].offsets

    def subscribe(self, channel: str) -> None:
        self._send({"type": "subscribe", "channel": channel})

    def check(self, log: SimulatedLog, history: SimulatedHistory) -> None:
        """On its last connection it has everything since each subscription began, but for what was announced."""
        for channel, start in self.starts.items():
            told = {quarantined(gap) for gap in self.gaps if channel in gap.channels}
            for partition, offset in log.unusable.get(channel, ()):
                if offset > start.offsets[partition] and not self.losses:
                    assert (partition, offset) in told, f"{channel}: not told of {partition}:{offset}"
            left_out = self._left_out(log, channel)
            for record in log.owed(channel, LOOK_BACK):
                place = (record.partition, record.offset)
                if record.offset > start.offsets[record.partition] and not self.losses and place not in left_out:
                    assert place in self.seen or (is_refused(record) and place in told), f"{channel}: lost {place}"


class Phone(PlainClient):
    """A plain client with a name that answers pings: over all its connections it gets what came to its user."""

    client_id = "phone"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.first: Position | None = None
        self.had: set[tuple[int, int]] = set()
        self.lost = False

    async def connect(self, server: Server) -> None:
        self.must_return = False
        await super().connect(server)

    def read(self, count: int) -> int:
        messages = self.port.read(count) if self.port is not None else []
        for message in messages:
            if message["type"] == "connection_established":
                self.first = self.first or Position.parse(message["subscriptions"][0]["position"])
            elif message["type"] == "ping":
                self._send({"type": "pong"})
            elif "offset" in message:
                self.had.add((message["partition"], message["offset"]))
            elif message["type"] == "gap":
                place = quarantined(gap_of(message))
                self.lost = self.lost or place is None
                if place is not None:
                    self.had.add(place)
            elif message["type"] == "error":
                self.must_return = self.must_return or message.get("channel") == "user:u"
        return len(messages)

    def check(self, log: SimulatedLog, history: SimulatedHistory) -> None:
        if self.first is None or self.lost:
            return
        for record in log.owed("user:u", LOOK_BACK):
            partition, offset = record.partition, record.offset
            # Without a cursor nobody knows what it has had: of what is gone by its next connect it is told nothing.
            held = offset >= log.first(partition) or history.holds(partition, offset)
            if held and record.type not in LEFT_OUT_OFFLINE and offset > self.first.offsets[partition]:
                assert (partition, offset) in self.had, f"lost {partition}:{offset}"


def some_event(random: Random, number: int, *, void: bool) -> Event:
    """An event of any route; with `void`, now and then one that was sent before, or of a task that has ended.

    Where records are lost before anyone could read them, what they would have made void can't be known.
    """
    id_ = f"e{number if not void or random.random() < 0.85 else max(0, number - random.randint(1, 8))}"
    kind = random.randrange(10)
    if kind < 6:
        task = random.choice("ab")
        type_ = "task_failed" if void and random.random() < 0.05 else "task_output"
        project = {"a": "p", "b": random.choice(["p", "q"])}[task]
        user = random.choice([None, "u", "v"])
        return Event.model_validate({"id": id_, "type": type_, "task_id": task, "project_id": project, "user_id": user})
    if kind == 6:
        return Event.model_validate({"id": id_, "type": "user_notification", "user_id": random.choice("uv")})
    if kind == 7:
        return Event.model_validate({"id": id_, "type": "system_security_alert", "priority": random.choice([1, 9])})
    return Event.model_validate({"id": id_, "type": "project_updated", "project_id": random.choice("pq")})


def some_channels(random: Random) -> list[str]:
    """The channels of a record: at most one of each kind."""
    named = [random.choice(["task:a", "task:b"]), random.choice(["project:p", "project:q"]), "user:u", "system"]
    return random.sample(named, random.randint(1, len(named)))


async def schedule(seed: int, steps: int, *, lossy: bool) -> tuple[SimulatedLog, SimulatedHistory, list[Client]]:
    """Play a schedule to its end, where everything has come to rest."""
    random = Random(seed)
    log = SimulatedLog(PARTITIONS, random)
    history = SimulatedHistory(log, LOOK_BACK)
    history.refuses = is_refused
    number = 0
    for _ in range(random.randrange(12)):
        log.add(
            random.randrange(PARTITIONS), some_event(random, number, void=not lossy), random.choice([0, 0, 0, 1, 3])
        )
        number += 1
    rights, cursors = SimulatedRights(log, LOOK_BACK), MemoryCursors()
    servers = [Server(SETTINGS, log, history, rights, cursors) for _ in range(2)]
    for server in servers:
        server.start()
        await server.ready()
    clients = [Client(random), Client(random), PlainClient(random), Phone(random)]
    for client in clients:
        await client.connect(random.choice(servers))
        for channel in random.sample(CHANNELS, 3):
            client.subscribe(channel)
    for _ in range(steps):
        partition = random.randrange(PARTITIONS)
        server, client = random.choice(servers), random.choice(clients)
        if server.node is None:
            # It begins only where Kafka answers.
            log.available = True
            history.available = history.available or random.random() < 0.1
            await asyncio.sleep(0.1)
            continue
        match random.randrange(20):
            case 0 | 1 | 2 | 3 | 4 | 5:
                if random.random() < 0.15:
                    log.add_unusable(partition, some_channels(random))
                for _ in range(random.choice([1, 1, 2, 6])):
                    log.add(partition, some_event(random, number, void=not lossy), random.choice([0, 0, 0, 0, 1, 4]))
                    number += 1
            case 6 | 7 | 8 | 9:
                server.step(partition, random.randint(1, 9))
            case 10 | 11 if log.available:
                await history.project({partition: history.next(partition) + random.randint(1, 20)})
            case 12:
                kept = history.next(partition) if not lossy else log.next(partition)
                log.drop_below(partition, min(kept, *(s.next[partition] for s in servers)) - random.randrange(4))
            case 13 if lossy and random.random() < 0.3 and history.next(partition):
                history.drop_below(partition, random.randrange(1 + history.next(partition)))
            case 14:
                await client.connect(server)
            case 15:
                client.subscribe(random.choice(CHANNELS))
            case 16 if random.random() < 0.3:
                history.available = not history.available
            case 16 if random.random() < 0.3 and all(s.node is not None for s in servers):
                log.available = not log.available
            case 17 if random.random() < 0.2:
                for other in clients:
                    if other.line is not None and other.line.server is server:
                        await other.cut()
                await server.stop()
                log.available = True
                server.start()
            case 18:
                server.heartbeat()
            case _:
                client.read(random.choice([1, 3, 10, 50]))
        for _ in range(random.choice([0, 0, 1, 2, 10])):
            await asyncio.sleep(0)
    history.available = log.available = True
    for server in servers:
        await server.ready()
    await history.project()
    for partition in range(PARTITIONS):
        for server in servers:
            server.step(partition, 10_000)
    for client in clients:
        if client.port is None or client.port.closed:
            await client.connect(servers[0])
    await come_to_rest(clients, servers)
    for client in clients:
        await client.cut()
    for server in servers:
        await server.stop()
    return log, history, clients


async def come_to_rest(clients: list[Client], servers: list[Server]) -> None:
    """Read everything until every wanted subscription is live and nothing is on its way."""
    for _ in range(200):
        await asyncio.sleep(10)  # simulated seconds: a wait for Postgres has ended by then
        for _ in range(20):
            await asyncio.sleep(0)
        moved = sum(client.read(10_000) for client in clients)
        for client in clients:
            if (client.port is not None and client.port.closed) or client.must_return:
                await client.connect(servers[0])
                moved += 1
        live = all(
            client.session.state(channel) is State.LIVE for client in clients for channel in client.session.wanted
        )
        if live and not moved:
            return
    pytest.fail("it never came to rest")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120))
@example(24000, 275)  # a record copied and dropped between asking Postgres and asking Kafka was told as a gap
def test_nothing_is_lost_or_doubled_while_everything_is_held(seed: int, steps: int) -> None:
    async def play() -> None:
        log, history, clients = await schedule(seed, steps, lossy=False)
        for client in clients:
            client.check(log, history)
            assert not client.losses, "a gap was announced although everything is held somewhere"

    simulate(play)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120))
@example(4265217848, 120)  # a floor of offline messages that passed over a quarantined record
@example(150009536, 261)  # a plan behind a gap by what Kafka had held before it
@example(3087039611, 111)  # the user's channel asked for, by its position, before what came while away had begun
@example(6569, 91)  # cut while what came while away is coming, and on to a node that is behind the former
def test_what_is_gone_is_announced_and_nothing_else(seed: int, steps: int) -> None:
    async def play() -> None:
        log, history, clients = await schedule(seed, steps, lossy=True)
        for client in clients:
            client.check(log, history)

    simulate(play)
