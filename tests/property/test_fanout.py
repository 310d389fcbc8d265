"""Live delivery over real sockets: whatever each of them takes and whenever, the bytes are the frames, in order."""

import socket
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from lastseen.record import encode

from service.adapters.sends import sends
from service.adapters.sends.python import send_all as send_all_from_python
from service.domain.frames import event_frame
from service.domain.records import Record
from service.node.fanout import Fanout
from service.ports import SendAll
from tests.raw import task_event

CHANNELS = ("task:a", "project:p", "user:u", "system")
SUBSCRIBERS = 4
_value = encode(task_event("a")).value


class Peer:
    """A subscriber: a socket that takes little, what waits for room in it, and what it should have got."""

    def __init__(self, number: int, fanout: "Fanout[Peer]") -> None:
        self.id = f"peer-{number}"
        self.slot = -1
        self._fanout = fanout
        self._ours, self._its = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for one in (self._ours, self._its):
            one.setblocking(False)
        self._waiting = b""
        self.got = b""
        self.expected = b""
        self.channels: set[str] = set()
        self.has_socket = True

    def descriptor(self) -> int:
        return -1 if self._waiting or not self.has_socket else self._ours.fileno()

    def send(self, frames: bytes) -> None:
        self._waiting += frames
        self.write()

    def answer(self, frames: bytes) -> None:
        """By another way than the fan-out's."""
        self._fanout.wait(self)
        self.expected += frames
        self.send(frames)

    def write(self) -> None:
        try:
            sent = self._ours.send(self._waiting) if self._waiting else 0
        except BlockingIOError:
            sent = 0
        self._waiting = self._waiting[sent:]

    def read(self, size: int) -> bool:
        try:
            got = self._its.recv(size)
        except BlockingIOError:
            got = b""
        self.got += got
        return bool(got)

    def finish(self) -> None:
        while self.read(1 << 20) or self._waiting:
            self.write()
        self._ours.close()
        self._its.close()
        assert self.got == self.expected


class Steps(RuleBasedStateMachine):
    send_all: SendAll

    @initialize()
    def begin(self) -> None:
        self.fanout: Fanout[Peer] = Fanout(self.send_all)
        self.peers = [Peer(number, self.fanout) for number in range(SUBSCRIBERS)]
        self.offset = 0

    def teardown(self) -> None:
        if hasattr(self, "fanout"):
            self.fanout.flush()
            for peer in self.peers:
                peer.finish()

    @rule(number=st.integers(0, SUBSCRIBERS - 1), channel=st.sampled_from(CHANNELS))
    def add(self, number: int, channel: str) -> None:
        self.fanout.add(channel, self.peers[number])
        self.peers[number].channels.add(channel)

    @rule(number=st.integers(0, SUBSCRIBERS - 1), channel=st.sampled_from(CHANNELS))
    def remove(self, number: int, channel: str) -> None:
        self.fanout.remove(channel, self.peers[number])
        self.peers[number].channels.discard(channel)

    @rule(number=st.integers(0, SUBSCRIBERS - 1))
    def leave_and_come_as_another(self, number: int) -> None:
        peer = self.peers[number]
        for channel in sorted(peer.channels):
            self.fanout.remove(channel, peer)
        self.fanout.flush()
        self.fanout.leave(peer)
        peer.finish()
        self.peers[number] = Peer(number, self.fanout)

    @rule(
        channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True),
        count=st.integers(1, 40),
        exclude=st.none() | st.integers(0, SUBSCRIBERS - 1),
    )
    def push(self, channels: list[str], count: int, exclude: int | None) -> None:
        excluded = None if exclude is None else self.peers[exclude].id
        for _ in range(count):
            self.offset += 1
            record = Record(0, self.offset, 0, "e", "t", tuple(channels), None, _value, excluded)
            self.fanout.push(record)
            for peer in self.peers:
                if peer.channels & set(channels) and peer.id != excluded:
                    peer.expected += event_frame(record)

    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True))
    def tell(self, channels: list[str]) -> None:
        def frame_of(own: Sequence[str]) -> bytes:
            return f"<{','.join(own)}>".encode()

        self.fanout.push_told(channels, frame_of)
        for peer in self.peers:
            if own := [channel for channel in channels if channel in peer.channels]:
                peer.expected += frame_of(own)

    @rule()
    def flush(self) -> None:
        self.fanout.flush()

    @rule(numbers=st.sets(st.integers(0, SUBSCRIBERS - 1)), size=st.sampled_from([1, 5_000]))
    def send_to(self, numbers: set[int], size: int) -> None:
        frames = b"<%b>" % (b"x" * size)
        for number in numbers:
            self.peers[number].expected += frames
        self.fanout.send_to([self.peers[number] for number in numbers], frames)

    @rule(number=st.integers(0, SUBSCRIBERS - 1))
    def answer(self, number: int) -> None:
        self.fanout.flush()
        self.peers[number].answer(b"<answer>")

    @rule(number=st.integers(0, SUBSCRIBERS - 1), size=st.integers(1, 4096))
    def read(self, number: int, size: int) -> None:
        self.peers[number].read(size)
        self.peers[number].write()

    @rule(number=st.integers(0, SUBSCRIBERS - 1), has_socket=st.booleans())
    def have_a_socket_or_none(self, number: int, has_socket: bool) -> None:
        self.fanout.wait(self.peers[number])
        self.peers[number].has_socket = has_socket


class StepsFromPython(Steps):
    send_all = staticmethod(send_all_from_python)


class StepsNatively(Steps):
    send_all = staticmethod(sends(native=True)[0])


StepsFromPython.TestCase.settings = StepsNatively.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
test_sent_from_python = StepsFromPython.TestCase
test_sent_natively = StepsNatively.TestCase
