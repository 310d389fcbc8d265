"""Frames sent past the server's transport, on real sockets: nothing is cut, overtaken, or sent to somebody else."""

import asyncio
import json
import os
import random
import socket
import ssl
import struct
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lastseen import close_codes
from starlette.datastructures import Address, Headers
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.adapters.clock import SystemClock
from service.adapters.memory import MemoryLog
from service.adapters.memory_tickets import MemoryTickets
from service.adapters.tokens import issue
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.domain.duplicates import LookBack
from service.domain.limits import Allowed, Limits
from service.domain.protocol import Input
from service.node.node import Node
from service.node.tail import _STEP_RECORDS, TailStart
from service.ports import Epoch, SendAll
from service.settings import Settings
from service.web import direct_socket
from service.web.admission import Caller
from service.web.direct_socket import DirectSocket
from service.web.door import Door
from service.web.host import Host
from tests.outside import from_nothing, outside_of
from tests.raw import Raw, raw_of, task_event
from tests.senders import WITH_EACH_LOOP
from tests.service_process import SECRET
from tests.waiting import until

MANY = Allowed(
    connections_per_user=100,
    connections_per_address=100,
    messages_per_user=10_000,
    messages_per_address=10_000,
    failures_per_address=100,
    tickets_per_user=1,
)
CHANNEL = "task:t"
SMALL = 4096
SECONDS = 60.0

NewLoop = Callable[[], asyncio.AbstractEventLoop]
on_each_loop = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


class Counted:
    """A loop that sends, and how often a socket took all, nothing, or some."""

    def __init__(self, send_all: SendAll) -> None:
        self._send_all = send_all
        self.whole = self.cut = 0

    def __call__(self, fds: "array[int]", slots: "array[int]", frames: bytes, /) -> list[tuple[int, int]]:
        rest = self._send_all(fds, slots, frames)
        self.whole += len(slots) - len(rest)
        self.cut += sum(sent > 0 for _, sent in rest)
        return rest


class Served:
    """A node whose tail the test steps, behind a real server; it knows nothing of hand-shakes."""

    def __init__(self, node: Node, port: int, sockets: list[DirectSocket], sends: Counted) -> None:
        self.node = node
        self.port = port
        self.sends = sends
        self.viewers: list[Viewer] = []
        self._sockets = sockets
        self._numbers = count()

    async def come(self, *, tls: ssl.SSLContext | None = None) -> "Viewer":
        """Somebody who watches the channel."""
        loop = asyncio.get_running_loop()
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        theirs.setblocking(False)
        known = len(self._sockets)
        await loop.sock_connect(theirs, ("127.0.0.1", self.port))
        viewer = Viewer(theirs, tls)
        self.viewers.append(viewer)
        await viewer.shake_hands()
        await until(lambda: len(self._sockets) > known, what="it has been accepted")
        viewer.direct = self._sockets[-1]
        await until(lambda: viewer.direct._connection is not None, what="it has been let in")
        viewer.connection = viewer.direct._connection
        await viewer.say(json.dumps({"type": "subscribe", "channel": CHANNEL}))
        await until(lambda: CHANNEL in viewer.connection.subscriptions.live, what="it is live")
        return viewer

    def records(self, number: int, size: int = 10) -> list[Raw]:
        """The next of the log."""
        return [
            raw_of(0, offset, task_event(data={"text": "x" * size}))
            for offset in (next(self._numbers) for _ in range(number))
        ]

    def publish(self, number: int = 1, size: int = 10) -> list[int]:
        """One step of the tail; the offsets."""
        records = self.records(number, size)
        self.node.tail.step(records, {0: records[-1].offset + 1})
        return [record.offset for record in records]


class Viewer:
    """A client, which reads when it is told to."""

    direct: DirectSocket
    connection: Any

    def __init__(self, theirs: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.theirs = theirs
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None if tls is None else tls.wrap_bio(self._in, self._out, server_hostname="localhost")

    async def shake_hands(self) -> None:
        while self._tls is not None:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                await self._put(self._out.read())
                return
            await self._put(self._out.read())
            self._in.write(await asyncio.get_running_loop().sock_recv(self.theirs, 1 << 16))

    async def say(self, text: str) -> None:
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
        if self._tls is not None:
            self._tls.write(frame)
            frame = self._out.read()
        await self._put(frame)

    async def _put(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.theirs, data)

    def read(self, size: int) -> bool:
        """As much as has come, up to a size; whether there was something."""
        try:
            data = self.theirs.recv(size)
        except BlockingIOError:
            return False
        if self._tls is not None:
            self._in.write(data)
            data = b""
            with suppress(ssl.SSLWantReadError):
                while True:
                    data += self._tls.read(1 << 16)
        self._protocol.receive_data(data)
        assert self._protocol.parser_exc is None, "a frame was cut"
        return True

    def heard(self) -> list[dict[str, Any]]:
        """The messages that have come whole since this was asked last."""
        frames = [frame for frame in self._protocol.events_received() if isinstance(frame, Frame)]
        return [json.loads(bytes(frame.data)) for frame in frames if frame.opcode is Opcode.TEXT]

    async def hear(self, type_: str, last: int) -> list[int]:
        """Read until the one with that number has come; the numbers of all of that type, in their order."""
        numbers: list[int] = []
        while not numbers or numbers[-1] != last:
            # Without a pause: through buffers this small little comes at a time.
            if not self.read(1 << 16):
                await asyncio.sleep(0)
            numbers += [message["offset"] for message in self.heard() if message["type"] == type_]
        return numbers

    def reset(self) -> None:
        """Go without a word."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.theirs.close()


@asynccontextmanager
async def serving(send_all: SendAll, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    clock, sends = SystemClock(), Counted(send_all)
    settings = Settings(high_water_bytes=64 * 1024 * 1024)
    sockets: list[DirectSocket] = []
    members: set[Any] = set()
    tasks: set[asyncio.Task[None]] = set()
    caller = Caller({"token": access()}, Headers(), ["lastseen.v1"], Address("10.0.0.1", 1))

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
            sockets.append(DirectSocket(host, members, tasks))
            sockets[-1].begin(transport, caller, in_turn=True)

    async with asyncio.TaskGroup() as group:
        start = TailStart({0: 0}, {0: 0}, {0: LookBack()})
        outside = outside_of(MemoryLog(1), clock, send_all=sends)
        node = Node(settings, outside, Epoch(1, "e", 1), from_nothing(start), group)
        authenticator = TokenAuthenticator(SECRET, None, Expected())
        host = Host(node, Door(authenticator, MemoryTickets(clock, seconds=30, most=10), Limits(MANY)), 1_000)
        server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0, ssl=tls)
        served = Served(node, server.sockets[0].getsockname()[1], sockets, sends)
        try:
            yield served
        finally:
            for viewer in served.viewers:
                viewer.theirs.close()
            node.abort()
            await until(lambda: not members and not tasks and not node.connections, what="nobody is left")
            server.close()
            node.puller.cancel()


def access() -> str:
    return issue(SECRET, user="ann", role="admin", projects=[], scopes=[], ttl=300, now=int(time.time()))


def run(new_loop: NewLoop, body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await body()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(bounded())


@on_each_loop
@WITH_EACH_LOOP
def test_whatever_the_socket_takes_frames_and_answers_come_whole_and_in_the_order_of_their_writing(
    new_loop: NewLoop, send_all: SendAll
) -> None:
    chance = random.Random(7)

    async def body() -> None:
        async with serving(send_all) as served:
            viewer = await served.come()
            written: list[tuple[str, int]] = []
            for number in range(400):
                # Now and then both in one step of the loop, and sometimes several.
                if chance.random() < 0.3:
                    viewer.connection.answer({"type": "answer", "offset": number, "text": "y" * chance.randrange(4000)})
                    written.append(("answer", number))
                if chance.random() < 0.8:
                    offsets = served.publish(chance.randrange(1, 4), chance.choice([10, 1_000, 8_000]))
                    written += [("task_output", offset) for offset in offsets]
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                if chance.random() < 0.7:
                    viewer.read(chance.randrange(1, 20_000))
                if chance.random() < 0.05:
                    while viewer.connection.buffered:
                        viewer.read(1 << 16)
                        await asyncio.sleep(0)
            served.publish()
            heard: list[dict[str, Any]] = []
            while not heard or heard[-1].get("offset") != served.node.services.window.next(0) - 1:
                if not viewer.read(1 << 16):
                    await asyncio.sleep(0)
                heard += viewer.heard()
            named = ("answer", "task_output")
            assert [(one["type"], one["offset"]) for one in heard if one["type"] in named][:-1] == written
            assert served.sends.cut, "some were cut by the socket"
            assert served.sends.whole > 10, "and it came back to being sent to at once"

    run(new_loop, body)


@on_each_loop
@WITH_EACH_LOOP
def test_heartbeats_go_the_same_way_in_the_order_of_the_frames(new_loop: NewLoop, send_all: SendAll) -> None:
    async def body() -> None:
        async with serving(send_all) as served:
            viewer, other = await served.come(), await served.come()
            await asyncio.sleep(0)
            served.publish()  # from here on nothing waits in a transport
            before = served.sends.whole
            for _ in range(served.node.services.settings.heartbeat_seconds):
                served.node.services.heartbeat.tick()
            assert served.sends.whole == before + 2, "each is pinged once, at once"
            served.publish()
            for one in (viewer, other):
                heard: list[str] = []
                while heard.count("task_output") < 2:
                    if not one.read(1 << 16):
                        await asyncio.sleep(0)
                    heard += [message["type"] for message in one.heard()]
                assert heard[heard.index("task_output") :] == ["task_output", "ping", "task_output"]

    run(new_loop, body)


async def _by_a_close(served: Served, viewer: Viewer) -> None:
    await asyncio.get_running_loop().sock_sendall(
        viewer.theirs, Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True)
    )


async def _by_garbage(served: Served, viewer: Viewer) -> None:
    await asyncio.get_running_loop().sock_sendall(viewer.theirs, b"GET / HTTP/1.1\r\n\r\n")


async def _by_a_reset(served: Served, viewer: Viewer) -> None:
    viewer.reset()


async def _by_going(served: Served, viewer: Viewer) -> None:
    viewer.theirs.shutdown(socket.SHUT_WR)


async def _by_the_server(served: Served, viewer: Viewer) -> None:
    viewer.direct.shutdown()


async def _by_the_node(served: Served, viewer: Viewer) -> None:
    viewer.connection.close(close_codes.GOING_AWAY, "")


async def _by_dropping_it(served: Served, viewer: Viewer) -> None:
    viewer.connection.abort()


@on_each_loop
@WITH_EACH_LOOP
@pytest.mark.parametrize(
    "end",
    [_by_a_close, _by_garbage, _by_a_reset, _by_going, _by_the_server, _by_the_node, _by_dropping_it],
    ids=lambda end: end.__name__.removeprefix("_by_"),
)
def test_whoever_has_its_descriptor_next_gets_nothing_and_the_tail_goes_on(
    new_loop: NewLoop,
    send_all: SendAll,
    end: Callable[[Served, Viewer], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_LAST_WORDS_SECONDS", "_LINGER_SECONDS", "_SHUTDOWN_SECONDS"):
        monkeypatch.setattr(direct_socket, name, 0.05)

    async def body() -> None:
        async with serving(send_all) as served:
            viewer, other = await served.come(), await served.come()
            await asyncio.sleep(0)
            for _ in range(3):
                served.publish()
                await asyncio.sleep(0)
            fd = viewer.direct._fd
            assert served.sends.whole, "it is sent to at once"
            await end(served, viewer)
            deadline = asyncio.get_running_loop().time() + SECONDS / 2
            while _is_open(fd):
                # In each step of the loop, however far its end has come.
                served.publish()
                await asyncio.sleep(0)
                assert asyncio.get_running_loop().time() < deadline
            with _at(fd) as somebody:
                for _ in range(20):
                    (last,) = served.publish()
                    await asyncio.sleep(0)
                with pytest.raises(BlockingIOError):
                    somebody.recv(1)
            assert await other.hear("task_output", last) == [*range(last + 1)]

    run(new_loop, body)


@contextmanager
def _at(fd: int) -> Iterator[socket.socket]:
    """What receives from a socket that has this descriptor now, which is free."""
    ours, somebody = socket.socketpair()
    if somebody.fileno() == fd:
        ours, somebody = somebody, ours
    somebody.setblocking(False)
    is_copy = ours.fileno() != fd
    if is_copy:
        os.dup2(ours.fileno(), fd)
    with ours, somebody:
        yield somebody
    if is_copy:
        os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@on_each_loop
@WITH_EACH_LOOP
def test_one_that_takes_nothing_is_dropped_with_what_waits_and_others_go_on(
    new_loop: NewLoop, send_all: SendAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_socket, "_LAST_WORDS_SECONDS", 0.05)

    async def body() -> None:
        async with serving(send_all) as served:
            stuck, other = await served.come(), await served.come()
            heard: list[int] = []
            last = -1
            while stuck.connection.buffered < 1_000_000:
                last = served.publish(10, 8_000)[-1]
                heard += await other.hear("task_output", last)
            stuck.connection.end(Input.SILENCE)
            await until(lambda: served.node.connections == 1, what="it is gone")
            await until(lambda: not _is_open(stuck.direct._fd), what="its descriptor too")
            (last,) = served.publish()
            heard += await other.hear("task_output", last)
            assert heard == [*range(last + 1)]

    run(new_loop, body)


@on_each_loop
@WITH_EACH_LOOP
def test_others_have_their_turn_between_the_steps_of_a_batch(new_loop: NewLoop, send_all: SendAll) -> None:
    async def body() -> None:
        async with serving(send_all) as served:
            viewer = await served.come()
            await asyncio.sleep(0)
            delivered = served.node.tail.counts
            seen: list[int] = []

            async def look() -> None:
                while True:
                    seen.append(delivered.delivered)
                    await asyncio.sleep(0)

            looking = asyncio.create_task(look())
            records = served.records(5 * _STEP_RECORDS)
            await served.node.tail._apply(records, {0: len(records)})
            looking.cancel()
            assert max(later - before for before, later in pairwise(seen)) <= _STEP_RECORDS
            assert await viewer.hear("task_output", len(records) - 1) == [*range(len(records))]

    run(new_loop, body)


@on_each_loop
@WITH_EACH_LOOP
def test_under_tls_all_goes_through_the_transport(new_loop: NewLoop, send_all: SendAll, tmp_path: Path) -> None:
    theirs, ours = _contexts(tmp_path)

    async def body() -> None:
        async with serving(send_all, ours) as served:
            viewer = await served.come(tls=theirs)
            for _ in range(5):
                last = served.publish(10, 1_000)[-1]
                await asyncio.sleep(0)
                assert viewer.connection.descriptor() == -1
            assert await viewer.hear("task_output", last) == [*range(last + 1)]
            assert served.sends.whole == 0

    run(new_loop, body)


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's, and that of a server that it believes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(file)
    return ssl.create_default_context(cafile=str(file)), ours
