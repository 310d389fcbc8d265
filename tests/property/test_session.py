"""Whatever a server may do and wherever the line is cut, a session hands out each event once, in order.

The server here is a model: it keeps the protocol and nothing more. It replays from any point at or below
what was asked, falls behind at will, forgets what is old, and loses everything in flight when the line is cut.
Readers of the user's channel come and go and take what they were given when they like; the user's other clients
confirm things, too.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lastseen.notices import Ask, Begun, Delivery, Gap, Notice, OfflineDelayed, Ping
from lastseen.positions import Position
from lastseen.session import Session

PARTITIONS = 2
USER = "user:u"
CHANNELS = (USER, "project:p", "broadcast", "task:t")
AUTOMATIC = (USER, "project:p", "broadcast")
Place = tuple[int, int]


@dataclass
class Stream:
    """A subscription on the server: where it stands, and whether it is live."""

    live: bool
    at: dict[int, int]
    group: int = 0
    away_upto: dict[int, int] = field(default_factory=dict)
    """Of offline messages: the head at the connect; up to there floods are left out."""


@dataclass
class Server:
    cursor: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), -1))
    floods: set[Place] = field(default_factory=set)
    has_history: bool = True
    log: list[list[tuple[int, tuple[str, ...]]]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    next: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    streams: dict[str, Stream] = field(default_factory=dict)
    wire: deque[dict[str, Any]] = field(default_factory=deque)
    groups: int = 0
    low: list[int] = field(default_factory=lambda: [-1] * PARTITIONS)
    """Offsets at or below are gone."""
    dropped: list[tuple[int, int, tuple[str, ...]]] = field(default_factory=list)

    def everything(self) -> list[tuple[int, int, tuple[str, ...]]]:
        return self.dropped + [(p, *one) for p in range(PARTITIONS) for one in self.log[p]]

    def head(self) -> dict[int, int]:
        return {p: n - 1 for p, n in enumerate(self.next)}

    def append(self, partition: int, channels: tuple[str, ...], skipped: int, *, flood: bool = False) -> None:
        offset = self.next[partition] + skipped
        if flood:
            self.floods.add((partition, offset))
        self.next[partition] = offset + 1
        self.log[partition].append((offset, channels))
        if any((s := self.streams.get(c)) is not None and s.live for c in channels):
            self.wire.append(self.event(partition, offset, channels))

    def event(self, partition: int, offset: int, channels: tuple[str, ...], **more: Any) -> dict[str, Any]:
        return {"type": "x", "channels": list(channels), **more, "partition": partition, "offset": offset}

    def connect(self, after: str | None) -> None:
        self.streams.clear()
        self.wire.clear()
        self.groups += 1
        gaps: list[dict[str, Any]] = []
        for channel in AUTOMATIC:
            at = self.head() if after is None else self.start(channel, after, gaps)
            self.streams[channel] = Stream(after is None, at, self.groups)
        is_away = after is None and self.has_history
        if is_away:
            at = {p: max(offset, self.low[p]) for p, offset in self.cursor.items()}
            self.streams[USER] = Stream(False, at, self.groups, self.head())
        self.wire.append(
            {
                "type": "connection_established",
                "connection_id": "c",
                "user_id": "u",
                "heartbeat_seconds": 30,
                "subscriptions": [
                    {"channel": c, "position": after or Position("k", s.at).token, "live": s.live}
                    for c, s in self.streams.items()
                ],
            }
        )
        self.wire.extend(gaps)
        if is_away and self.groups % 2:
            # There is much: the others join.
            others = [name for name in AUTOMATIC if name != USER]
            for name in others:
                self.streams[name] = Stream(False, self.head(), self.groups)
            self.wire.append({"type": "fell_behind", "channels": others, "position": self.token()})
        elif after is None and not is_away:
            self.wire.append({"type": "error", "message": "", "code": "history_unavailable", "channel": USER})

    def subscribe(self, message: dict[str, Any]) -> None:
        channel, after = message["channel"], message.get("after")
        answer = {"type": "subscription_result", "channel": channel, "subscribed": True, "ref": message["ref"]}
        if after is not None:
            self.groups += 1
            gaps: list[dict[str, Any]] = []
            self.streams[channel] = Stream(False, self.start(channel, after, gaps), self.groups)
            self.wire.extend([{**answer, "position": after}, *gaps])
        else:
            stream = self.streams.setdefault(channel, Stream(True, self.head()))
            at = self.head() if stream.live else stream.at
            self.wire.append({**answer, "position": Position("k", at).token})

    def start(self, channel: str, token: str, gaps: list[dict[str, Any]]) -> dict[int, int]:
        """Where a replay begins, and the gap that is told where something between is gone."""
        asked = Position.parse(token).offsets
        at = {p: max(low, asked.get(p, -1)) for p, low in enumerate(self.low)}
        if any(offset < self.low[p] for p, offset in asked.items()):
            gaps.append(self.gap(channel, token, at))
        return at

    def gap(self, channel: str, requested: str, at: dict[int, int]) -> dict[str, Any]:
        earliest = Position("k", at).token
        return {
            "type": "gap",
            "channels": [channel],
            "requested": requested,
            "earliest": earliest,
            "reason": "retention",
        }

    def retain(self, partition: int, upto: int) -> None:
        """What lies at or below is held no more; where somebody is behind it, he is told."""
        low = min(upto, self.next[partition] - 1)
        if low <= self.low[partition]:
            return
        self.low[partition] = low
        self.dropped += [(partition, offset, channels) for offset, channels in self.log[partition] if offset <= low]
        self.log[partition] = [one for one in self.log[partition] if one[0] > low]
        for name, stream in self.streams.items():
            if not stream.live and stream.at[partition] < low:
                requested = Position("k", stream.at).token
                stream.at[partition] = low
                self.wire.append(self.gap(name, requested, stream.at))

    def replay(self, group: int, steps: int) -> None:
        """Send the next events of a catch-up; it flips to live in the step that reaches the head."""
        names = [c for c, s in self.streams.items() if not s.live and s.group == group]
        for _ in range(steps):
            for partition in range(PARTITIONS):
                found = self.next_of(names, partition)
                if found is not None:
                    offset, channels, named = found
                    self.wire.append(self.event(partition, offset, channels, replay=named))
                    for name in names:
                        at = self.streams[name].at
                        at[partition] = max(at.get(partition, -1), offset)
                    break
            else:
                for name in names:
                    self.streams[name].live = True
                self.wire.append({"type": "caught_up", "channels": names, "position": self.token()})
                return

    def next_of(self, names: list[str], partition: int) -> tuple[int, tuple[str, ...], list[str]] | None:
        for offset, channels in self.log[partition]:
            named = [c for c in names if c in channels and self.counts(self.streams[c], partition, offset)]
            if named:
                return offset, channels, named
        return None

    def counts(self, stream: Stream, partition: int, offset: int) -> bool:
        is_flood = (partition, offset) in self.floods and offset <= stream.away_upto.get(partition, -1)
        return not is_flood and offset > stream.at.get(partition, -1)

    def ack(self, position: Position) -> None:
        for partition, offset in position.offsets.items():
            assert offset < self.next[partition]
            self.cursor[partition] = max(self.cursor[partition], offset)

    def token(self) -> str:
        return Position("k", self.head()).token


@dataclass
class Reader:
    """Who takes what comes of the user's channel, some time after it came."""

    begun: bool
    begins_with_connection: bool
    waiting: list[Place | Position] = field(default_factory=list)
    """Events, and between them up to where to confirm once they have been taken."""
    given: set[Place] = field(default_factory=set)
    since: Position | None = None
    """Where its stream began: from there on it gets everything."""


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.session = Session()
        self.had: dict[str, list[Place]] = {c: [] for c in CHANNELS}
        self.begun: dict[str, dict[int, int]] = {}
        self.reader: Reader | None = None
        self.taken: set[Place] = set()
        self.was_delayed = False
        self.must_return = False
        self.gaps: list[Gap] = []
        self.gone: dict[str, dict[int, int]] = {c: {} for c in CHANNELS}
        """What was gone before anything of the partition had come, by channel: nobody can be told of that."""
        self.rewinding: set[str] = set()
        self.connect()

    def connect(self) -> None:
        self.must_return = False
        resume = self.session.resume()
        self.server.connect(resume.after)
        for message in resume.messages:
            self.server.subscribe(message)

    @rule(
        partition=st.integers(0, PARTITIONS - 1),
        channels=st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True),
        skipped=st.integers(0, 3),
        flood=st.booleans(),
    )
    def append(self, partition: int, channels: list[str], skipped: int, flood: bool = False) -> None:
        self.server.append(partition, tuple(channels), skipped, flood=flood)

    @rule(has_history=st.booleans())
    def history(self, has_history: bool) -> None:
        self.server.has_history = has_history

    @rule(start=st.booleans())
    @precondition(lambda self: self.reader is None)
    def read(self, start: bool) -> None:
        """A reader comes, from what it has had, or from what came while the user was away."""
        position = self.session.position(USER)
        # Of its own it has everything that was ever taken: it goes on where the last one that had it all stopped.
        after = position.token if start and position is not None and self.has_all_of(position) else None
        message = self.session.read(USER, after)
        self.reader = Reader(begun=message is not None and after is None, begins_with_connection=message is None)
        if message is not None:
            self.server.subscribe(message)
        else:
            self.had[USER].clear()
            self.cut()

    @rule(partition=st.integers(0, PARTITIONS - 1))
    @precondition(lambda self: self.reader is None)
    def come_while_history_is_away(self, partition: int) -> None:
        """Something came for the user that can't be had now; what is live goes on."""
        self.append(partition, [USER], 0)
        self.history(False)
        self.read(False)
        self.append(partition, [USER], 0)
        self.ping()
        self.receive(10)
        self.take(10)

    def has_all_of(self, position: Position) -> bool:
        return all(place in self.taken for place in self.owed() if position.has_seen(*place))

    @rule()
    @precondition(lambda self: self.reader is not None)
    def leave(self) -> None:
        self.reader = None
        self.session.leave(USER)

    @rule()
    def confirm_elsewhere(self) -> None:
        """Another client with the same cursor has taken everything there is."""
        self.taken.update(self.owed())
        self.server.ack(Position("k", self.server.head()))

    @rule(count=st.integers(1, 9))
    @precondition(lambda self: self.reader is not None)
    def take(self, count: int) -> None:
        assert self.reader is not None
        for item in self.reader.waiting[:count]:
            if isinstance(item, Position):
                self.server.ack(item)
            else:
                self.taken.add(item)
        del self.reader.waiting[:count]

    @rule(group=st.integers(0, 3), steps=st.integers(1, 5))
    def replay(self, group: int, steps: int) -> None:
        groups = sorted({s.group for s in self.server.streams.values() if not s.live})
        if groups:
            self.server.replay(groups[group % len(groups)], steps)

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1))
    def fall_behind(self, channels: set[str]) -> None:
        server = self.server
        names = [c for c in sorted(channels) if (s := server.streams.get(c)) is not None and s.live]
        if names:
            server.groups += 1
            for name in names:
                server.streams[name] = Stream(False, server.head(), server.groups)
            server.wire.append({"type": "fell_behind", "channels": names, "position": server.token()})

    @rule(behind=st.sampled_from(AUTOMATIC), partition=st.integers(0, PARTITIONS - 1))
    def part_ways(self, behind: str, partition: int) -> None:
        """One automatic subscription is told how far it has come, and the other waits for an older event."""
        self.fall_behind({behind})
        self.append(partition, [behind], 0)
        self.ping()

    @rule()
    def ping(self) -> None:
        self.server.wire.append({"type": "ping", "position": self.server.token()})

    @rule(start=st.sampled_from([None, "k:", "k:0=-1,1=2", "k:0=5"]))
    @precondition(lambda self: "task:t" not in self.session.wanted)
    def subscribe(self, start: str | None) -> None:
        self.server.subscribe(self.session.subscribe("task:t", None if start is None else ("after", start)))

    @rule(channel=st.sampled_from(AUTOMATIC[1:]), start=st.sampled_from(["earliest", "k:0=-1", "k:1=0"]))
    def rewind(self, channel: str, start: str) -> None:
        """A channel that the connection begins anyway is wanted from before, or all of it that is held."""
        starts = Position.parse(start).offsets.items()
        position = self.session.position(channel)
        # From beyond where it is, what lies between would be left out.
        if position and channel not in self.rewinding and all(position.has_seen(*place) for place in starts):
            self.rewinding.add(channel)
            self.server.subscribe(self.session.subscribe(channel, ("after", start)))

    @rule(channel=st.sampled_from(AUTOMATIC[1:]))
    def hand_over(self, channel: str) -> None:
        """Who asked for a start leaves before it is answered; another goes on from where the channel is."""
        if channel in self.rewinding:
            self.rewinding.remove(channel)
            self.session.leave(channel)
            self.server.subscribe(self.session.subscribe(channel))

    @rule(channels=st.permutations(AUTOMATIC[1:]), partition=st.integers(0, PARTITIONS - 1))
    def miss_what_is_dropped(self, channels: list[str], partition: int) -> None:
        """While nobody is connected, what came to one channel is dropped; another wants all that is held."""
        rewound, missing = channels
        self.come_to_rest()
        if self.session.owes_offline:
            return  # it comes without a position
        self.rewind(rewound, "earliest")
        self.receive(50)
        self.session.on_disconnected()
        self.server.streams.clear()
        self.append(partition, [missing], 0)
        self.retain(partition, 1_000)
        self.connect()

    @rule(partition=st.integers(0, PARTITIONS - 1), upto=st.integers(0, 20))
    def retain(self, partition: int, upto: int) -> None:
        self.server.retain(partition, upto)
        self.note_beginnings()

    @rule(has_history=st.booleans())
    def ask_before_the_greeting(self, has_history: bool) -> None:
        """Who gets the user's channel anyway asks for it at once."""
        self.history(has_history)
        self.cut()
        self.server.subscribe(self.session.subscribe(USER))

    @rule(count=st.integers(1, 20))
    def receive(self, count: int) -> None:
        for _ in range(min(count, len(self.server.wire))):
            message = self.server.wire.popleft()
            channel = message["channel"] if message["type"] == "subscription_result" else USER
            before = self.session.position(channel)
            items = self.session.receive(message)
            now = self.session.position(channel)
            if message["type"] == "subscription_result" and before and now and now.lowered(before) != before:
                # Somebody asked for a start of its own: what came since comes again.
                self.had[channel].clear()
                self.gone[channel].clear()
                self.begun[channel] = dict(now.offsets)
            for item in items:
                self.handle(item)
            self.note_beginnings()

    def handle(self, item: Delivery | Notice) -> None:
        match item:
            case Delivery(event, channels):
                place = (event["partition"], event["offset"])
                for channel in channels:
                    self.had[channel].append(place)
                if USER in channels and self.reader is not None and self.reader.begun:
                    assert place not in self.reader.given, "doubled for the reader"
                    self.reader.given.add(place)
                    self.reader.waiting.append(place)
            case Gap():
                self.gaps.append(item)
            case Begun(channel, answers=True) if channel in self.rewinding:
                self.rewinding.remove(channel)
            case Begun(channel, begins_at, answers=answers) if channel == USER and (reader := self.reader) is not None:
                reader.begun = reader.begun or answers or reader.begins_with_connection
                if reader.begun and reader.since is None:
                    reader.since = begins_at
                elif reader.since is not None and self.session.owes_offline:
                    reader.since = reader.since.lowered(begins_at)
            case OfflineDelayed():
                self.was_delayed = self.must_return = True
            case Ask(message):
                self.server.subscribe(message)
            case Ping() if self.reader is not None and self.reader.begun:
                if (position := self.session.confirmable) is not None:
                    self.reader.waiting.append(position)
            case _:
                pass

    def note_beginnings(self) -> None:
        for channel in CHANNELS:
            position = self.session.position(channel)
            if position is None:
                continue
            self.begun.setdefault(channel, dict(position.offsets))
            for partition in set(range(PARTITIONS)) - position.offsets.keys():
                self.gone[channel][partition] = self.server.low[partition]

    @rule()
    def cut(self) -> None:
        self.session.on_disconnected()
        self.connect()

    @invariant()
    def in_order_and_once(self) -> None:
        for channel, had in self.had.items():
            assert len(set(had)) == len(had), f"{channel}: doubled"
            if not (channel == USER and self.was_delayed):
                for partition in range(PARTITIONS):
                    offsets = [o for p, o in had if p == partition]
                    assert offsets == sorted(offsets), channel

    def owed(self) -> list[Place]:
        """What the user has to get, some time or other."""
        return [
            (partition, offset)
            for partition, events in enumerate(self.server.log)
            for offset, channels in events
            if USER in channels and (partition, offset) not in self.server.floods
        ]

    @invariant()
    def nothing_is_confirmed_that_nobody_has_taken(self) -> None:
        for partition, offset in self.owed():
            assert offset > self.server.cursor[partition] or (partition, offset) in self.taken, (partition, offset)

    def come_to_rest(self) -> None:
        """Everything comes that is still to come."""
        for _ in range(4):
            for group in range(self.server.groups + 1):
                if any(s.group == group and not s.live for s in self.server.streams.values()):
                    self.server.replay(group, 10_000)
            self.receive(10**6)
            if self.must_return:
                self.cut()

    def is_told(self, channel: str, partition: int, offset: int) -> bool:
        """Whether a gap stands for it, or nobody could know of it."""
        return offset <= self.gone[channel].get(partition, -1) or any(
            channel in gap.channels
            and gap.requested.offsets.get(partition, -2) < offset <= gap.earliest.offsets[partition]
            for gap in self.gaps
        )

    def teardown(self) -> None:
        """In the end everything comes: then each channel has had all of its events since it began, and the user all."""
        if self.reader is None:
            self.read(False)
        self.server.has_history = True
        self.come_to_rest()
        for channel, begun in self.begun.items():
            if channel != USER:
                wanted = {
                    (p, offset)
                    for p, offset, channels in self.server.everything()
                    if channel in channels and offset > begun.get(p, -1)
                }
                had = set(self.had[channel])
                assert had <= wanted, channel
                untold = {place for place in wanted - had if not self.is_told(channel, *place)}
                assert not untold, f"{channel}: neither given nor told of"
        self.ping()
        self.receive(10**6)
        self.take(10**6)
        self.nothing_is_confirmed_that_nobody_has_taken()
        assert set(self.owed()) <= self.taken
        assert self.reader is not None
        assert self.reader.since is not None
        since = self.reader.since
        assert {place for place in self.owed() if not since.has_seen(*place)} <= self.reader.given
        assert self.server.cursor == self.server.head(), "all of it is confirmed"


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
