"""Whatever a server may do and wherever the line is cut, a session hands out each event once, in order.

The server here is a model: it keeps the protocol and nothing more. It replays from any point at or below
what was asked, falls behind at will, and loses everything in flight when the line is cut.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lastseen.notices import Delivery
from lastseen.positions import Position
from lastseen.session import Session

PARTITIONS = 2
CHANNELS = ("user:u", "project:p", "task:t")
AUTOMATIC = ("user:u", "project:p")


@dataclass
class Stream:
    """A subscription on the server: where it stands, and whether it is live."""

    live: bool
    at: dict[int, int]
    group: int = 0


@dataclass
class Server:
    log: list[list[tuple[int, tuple[str, ...]]]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    next: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    streams: dict[str, Stream] = field(default_factory=dict)
    wire: deque[dict[str, Any]] = field(default_factory=deque)
    groups: int = 0

    def head(self) -> dict[int, int]:
        return {p: n - 1 for p, n in enumerate(self.next)}

    def append(self, partition: int, channels: tuple[str, ...], skipped: int) -> None:
        offset = self.next[partition] + skipped
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
        live = after is None
        at = self.head() if after is None else dict(Position.parse(after).offsets)
        for channel in AUTOMATIC:
            self.streams[channel] = Stream(live, dict(at), self.groups)
        token = Position("k", at).token
        self.wire.append(
            {
                "type": "connection_established",
                "connection_id": "c",
                "user_id": "u",
                "heartbeat_seconds": 30,
                "subscriptions": [{"channel": c, "position": token, "live": live} for c in AUTOMATIC],
            }
        )

    def subscribe(self, message: dict[str, Any]) -> None:
        channel, after = message["channel"], message.get("after")
        answer = {"type": "subscription_result", "channel": channel, "subscribed": True, "ref": message["ref"]}
        if after is not None:
            self.groups += 1
            at = dict(Position.parse(after).offsets)
            self.streams[channel] = Stream(False, dict(at), self.groups)
            self.wire.append({**answer, "position": after})
        else:
            stream = self.streams.setdefault(channel, Stream(True, self.head()))
            at = self.head() if stream.live else stream.at
            self.wire.append({**answer, "position": Position("k", at).token})

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
            named = [c for c in names if c in channels and offset > self.streams[c].at.get(partition, -1)]
            if named:
                return offset, channels, named
        return None

    def token(self) -> str:
        return Position("k", self.head()).token


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.session = Session()
        self.had: dict[str, list[tuple[int, int]]] = {c: [] for c in CHANNELS}
        self.begun: dict[str, dict[int, int]] = {}
        self.connect()

    def connect(self) -> None:
        resume = self.session.resume()
        self.server.connect(resume.after)
        for message in resume.messages:
            self.server.subscribe(message)

    @rule(
        partition=st.integers(0, PARTITIONS - 1),
        channels=st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True),
        skipped=st.integers(0, 3),
    )
    def append(self, partition: int, channels: list[str], skipped: int) -> None:
        self.server.append(partition, tuple(channels), skipped)

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

    @rule(count=st.integers(1, 20))
    def receive(self, count: int) -> None:
        for _ in range(min(count, len(self.server.wire))):
            message = self.server.wire.popleft()
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        for item in self.session.receive(message):
            if isinstance(item, Delivery):
                for channel in item.channels:
                    self.had[channel].append((item.event["partition"], item.event["offset"]))
        for channel in CHANNELS:
            position = self.session.position(channel)
            if channel not in self.begun and position is not None:
                self.begun[channel] = dict(position.offsets)

    @rule()
    def cut(self) -> None:
        self.session.on_disconnected()
        self.connect()

    @invariant()
    def in_order_and_once(self) -> None:
        for channel, had in self.had.items():
            for partition in range(PARTITIONS):
                offsets = [o for p, o in had if p == partition]
                assert offsets == sorted(set(offsets)), channel

    def teardown(self) -> None:
        """In the end everything comes: then each channel has had all of its events since it began."""
        for _ in range(2):
            for group in range(self.server.groups + 1):
                if any(s.group == group and not s.live for s in self.server.streams.values()):
                    self.server.replay(group, 10_000)
            self.receive(10**6)
        for channel, begun in self.begun.items():
            wanted = {
                (p, offset)
                for p in range(PARTITIONS)
                for offset, channels in self.server.log[p]
                if channel in channels and offset > begun.get(p, -1)
            }
            assert set(self.had[channel]) == wanted, channel


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
