"""A conversation over a transport: what comes is taken apart, acted on in order, bounded, and ends visibly."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.datastructures import Address, Headers
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.adapters.clock import SystemClock
from service.adapters.memory import MemoryLog
from service.adapters.memory_tickets import MemoryTickets
from service.adapters.tokens import issue
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.domain.limits import Allowed, Limits
from service.node.connection import Connection
from service.node.node import Node, running
from service.ports import Epoch
from service.settings import Settings
from service.web import direct_socket
from service.web.admission import Caller
from service.web.client_frames import Read
from service.web.direct_socket import DirectSocket
from service.web.door import Door
from service.web.host import Host
from tests.outside import outside_of
from tests.service_process import SECRET
from tests.waiting import until

MANY = Allowed(
    connections_per_user=3,
    connections_per_address=100,
    messages_per_user=1_000,
    messages_per_address=1_000,
    failures_per_address=100,
    tickets_per_user=1,
)


@dataclass
class Wire(asyncio.Transport):
    """What a transport was told; a client at its other end reads it."""

    unread: int = 0
    written: bytearray = field(default_factory=bytearray)
    protocol: asyncio.BaseProtocol | None = None
    reads: bool = True
    has_ended: bool = False
    is_closed: bool = False
    is_aborted: bool = False
    low_water: int | None = None

    def write(self, data: Any) -> None:
        assert not self.is_closed
        assert not self.has_ended
        self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == low
        self.low_water = low

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads
        self.reads = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self._gone()

    def abort(self) -> None:
        self.is_aborted = True
        self._gone()

    def _gone(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Client:
    """The other end."""

    def __init__(self, socket: DirectSocket, wire: Wire) -> None:
        self.socket = socket
        self.wire = wire
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN)
        self._heard: list[dict[str, Any]] = []
        self._read = 0

    def send(self, *frames: Frame) -> None:
        """All in one piece."""
        self.socket.data_received(b"".join(frame.serialize(mask=True) for frame in frames))

    def say(self, **message: object) -> None:
        self.send(text(**message))

    @property
    def heard(self) -> list[dict[str, Any]]:
        """All messages so far."""
        news = bytes(self.wire.written[self._read :])
        self._read = len(self.wire.written)
        self._protocol.receive_data(news)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.TEXT:
                self._heard.append(json.loads(bytes(frame.data)))
            elif frame.opcode is Opcode.PONG:
                self._heard.append({"type": "PONG", "data": bytes(frame.data)})
        return self._heard

    async def hear(self, type_: str, **fields: object) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((m for m in self.heard if m["type"] == type_ and fields.items() <= m.items()), None)

        await until(lambda: found() is not None, what=f"{type_} {fields}")
        message = found()
        assert message is not None
        return message

    async def closed(self) -> Close:
        """With what it was closed."""

        await until(lambda: self.heard is not None and self._protocol.close_rcvd is not None, what="the close")
        assert self._protocol.close_rcvd is not None
        return self._protocol.close_rcvd


@dataclass
class Place:
    """A node, and whoever is connected with it."""

    node: Node
    host: Host
    members: set[Any] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def come(self, *, token: str | None = None, read: Read | None = None) -> Client:
        wire = Wire()
        socket = DirectSocket(self.host, self.members, self.tasks)
        access = access_of("ann") if token is None else token
        caller = Caller({"token": access}, Headers(), ["lastseen.v1"], Address("10.0.0.1", 1))
        socket.begin(wire, caller, in_turn=False, read=read)
        return Client(socket, wire)

    async def is_empty(self) -> None:
        """Wait until nothing is left of anybody."""
        await until(lambda: not self.members and not self.tasks and not self.node.connections, what="nobody left")


def access_of(user: str) -> str:
    return issue(SECRET, user=user, role="user", projects=[], scopes=[], ttl=300, now=int(time.time()))


@asynccontextmanager
async def a_place(client_of: Callable[..., Any] | None = None) -> AsyncIterator[Place]:
    clock = SystemClock()
    async with running(Settings(max_connections=4), outside_of(MemoryLog(1), clock), Epoch(1, "e", 1)) as node:
        door = Door(
            TokenAuthenticator(SECRET, None, Expected()), MemoryTickets(clock, seconds=30, most=10), Limits(MANY)
        )
        yield Place(node, Host(node, door, 1_000, client_of))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with a_place() as place:
        yield place
        await place.is_empty()


def text(**message: object) -> Frame:
    return Frame(Opcode.TEXT, json.dumps(message).encode())


async def greeted(place: Place) -> Client:
    client = place.come()
    await client.hear("connection_established")
    return client


async def one_step_behind(task: asyncio.Task[None]) -> None:
    """Until a task is done, but before anybody else has been told."""
    for _ in range(1_000):
        if task.done():
            return
        await asyncio.sleep(0)


def leave(client: Client) -> None:
    client.wire.abort()


async def test_what_is_said_is_answered_in_order_and_nothing_is_left_behind(place: Place) -> None:
    client = await greeted(place)
    assert client.wire.low_water == place.node.services.low_water
    client.send(*(text(type="ping", ref=number) for number in range(20)))
    assert not client.wire.reads, "what waits is acted on first"
    await client.hear("pong", ref=19)
    assert [message["ref"] for message in client.heard if message["type"] == "pong"] == [*range(20)]
    assert client.wire.reads
    client.send(Frame(Opcode.CLOSE, Close(1000, "").serialize()))
    assert (await client.closed()).code == 1000
    assert client.wire.is_closed
    await place.is_empty()


async def test_a_message_that_comes_in_the_step_in_which_the_last_was_done_is_acted_on(place: Place) -> None:
    client = await greeted(place)
    await until(lambda: not place.tasks, what="nothing going on")
    client.say(type="authenticate", token="none", ref=1)
    (acting,) = place.tasks
    await one_step_behind(acting)
    assert acting in place.tasks, "whoever waits for its end has not heard of it"
    client.say(type="ping", ref=2)
    await client.hear("pong", ref=2)
    leave(client)


async def test_what_needs_no_waiting_is_done_in_the_step_in_which_it_comes_and_has_no_task(place: Place) -> None:
    client = await greeted(place)
    await until(lambda: not place.tasks, what="nothing going on")
    for said, answer in (
        ({"type": "ping", "ref": 1}, {"type": "pong", "ref": 1}),
        ({"type": "subscribe", "channel": "broadcast", "ref": 2}, {"type": "subscription_result", "ref": 2}),
        ({"type": "unsubscribe", "channel": "broadcast", "ref": 3}, {"type": "unsubscription_result", "ref": 3}),
    ):
        client.say(**said)
        assert not place.tasks
        assert client.wire.reads
        assert answer.items() <= client.heard[-1].items()
    position = client.heard[0]["position"]
    client.say(type="subscribe", channel="broadcast", after=position, ref=4)
    assert not place.tasks
    assert [message["type"] for message in client.heard[-2:]] == ["subscription_result", "caught_up"]
    client.say(type="subscribe", channel="task:none", ref=5)
    assert place.tasks, "a denial waits for all that the log holds"
    client.say(type="ping", ref=6)
    assert not client.wire.reads, "it waits for what came before it"
    await client.hear("pong", ref=6)
    refs = [message["ref"] for message in client.heard if message.get("ref") in (5, 6)]
    assert refs == [5, 6]
    client.say(type="subscribe", channel="task:none", ref=7)
    # It is lost in the same step: what would have been awaited never begins.
    client.wire.is_closed = True
    client.socket.connection_lost(None)


async def test_who_has_just_been_here_is_greeted_with_the_answer_to_the_hand_shake(place: Place) -> None:
    position = place.node.services.head.token
    wire = Wire()
    socket = DirectSocket(place.host, place.members, place.tasks)
    caller = Caller({"token": access_of("ann"), "after": position}, Headers(), [], Address("10.0.0.1", 1))
    socket.begin(wire, caller, in_turn=True, answer=b"HTTP/1.1 101 \r\n\r\n")
    assert not place.tasks, "there was nothing to wait for"
    assert wire.written.startswith(b"HTTP/1.1 101 \r\n\r\n\x81")
    del wire.written[: len(b"HTTP/1.1 101 \r\n\r\n")]
    client = Client(socket, wire)
    assert [message["type"] for message in client.heard] == ["connection_established", "caught_up"]
    leave(client)


@pytest.mark.parametrize("query", [{}, {"after": "nonsense"}, {"client_id": "not one"}, {"project_id": "p"}])
async def test_who_has_to_wait_has_the_answer_to_the_hand_shake_before(
    place: Place, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who is not let in does not answer the close here, and is dropped.
    monkeypatch.setattr(direct_socket, "_LAST_WORDS_SECONDS", 0.1)
    wire = Wire()
    socket = DirectSocket(place.host, place.members, place.tasks)
    caller = Caller({"token": access_of("ann"), **query}, Headers(), [], Address("10.0.0.1", 1))
    socket.begin(wire, caller, in_turn=True, answer=b"HTTP/1.1 101 \r\n\r\n")
    assert wire.written == b"HTTP/1.1 101 \r\n\r\n"
    wire.written.clear()
    client = Client(socket, wire)
    if query:
        assert (await client.closed()).code == 1008
    else:
        await client.hear("connection_established")
        leave(client)


async def test_who_is_not_let_in_hears_it_behind_the_answer_to_the_hand_shake(place: Place) -> None:
    wire = Wire()
    socket = DirectSocket(place.host, place.members, place.tasks)
    caller = Caller({"token": "none"}, Headers(), [], Address("10.0.0.1", 1))
    socket.begin(wire, caller, in_turn=True, answer=b"HTTP/1.1 101 \r\n\r\n")
    assert wire.written.startswith(b"HTTP/1.1 101 \r\n\r\n\x88")
    wire.written.clear()
    leave(Client(socket, wire))


async def test_a_message_in_pieces_and_one_that_is_cut_anywhere(place: Place) -> None:
    client = await greeted(place)
    whole = json.dumps({"type": "ping", "ref": "pieces"}).encode()
    client.send(
        Frame(Opcode.TEXT, whole[:5], fin=False),
        Frame(Opcode.PING, b"between"),
        Frame(Opcode.CONT, whole[5:9], fin=False),
        Frame(Opcode.CONT, whole[9:]),
    )
    await client.hear("pong", ref="pieces")
    assert {"type": "PONG", "data": b"between"} in client.heard
    for byte in text(type="ping", ref="bytes").serialize(mask=True):
        client.socket.data_received(bytes([byte]))
    await client.hear("pong", ref="bytes")
    client.send(Frame(Opcode.BINARY, json.dumps({"type": "ping", "ref": "binary"}).encode()))
    await client.hear("pong", ref="binary")
    leave(client)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),
        (Frame(Opcode.TEXT, b"x" * 1_001).serialize(mask=True), 1009),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
        (Frame(Opcode.CONT, b"of nothing").serialize(mask=True), 1002),
        (Frame(Opcode.PING, b"x").serialize(mask=True) * 1_100, 4429),
        (
            (
                Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
                + Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * 1_100
            ),
            4429,
        ),
    ],
    ids=["no utf-8", "too big", "no frames", "no beginning", "pings", "pieces"],
)
async def test_what_breaks_the_rules_ends_it_and_the_client_can_see_why(
    place: Place, sent: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_socket, "_LINGER_SECONDS", 0.01)
    client = await greeted(place)
    client.socket.data_received(sent)
    assert (await client.closed()).code == code
    assert client.wire.has_ended
    client.socket.data_received(b"what still comes is of no interest")
    await until(lambda: client.wire.is_aborted, what="it is dropped")


@pytest.mark.parametrize(
    "before",
    [[Frame(Opcode.TEXT, b"\xff")], [Frame(Opcode.PING, b"")] * 1_100, [text(type="ping", ref=n) for n in range(60)]],
    ids=["no utf-8", "pings", "messages"],
)
async def test_what_breaks_the_rules_right_before_the_clients_own_close_ends_as_that(
    place: Place, before: list[Frame], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(direct_socket, "_LINGER_SECONDS", 0.01)
    client = await greeted(place)
    client.send(*before, Frame(Opcode.CLOSE, Close(1000, "").serialize()))
    assert (await client.closed()).code == 1000
    await place.is_empty()
    assert not caplog.records


async def test_the_answers_of_pings_that_nobody_reads_do_not_pile_up(place: Place) -> None:
    client = await greeted(place)
    client.wire.unread = 64 * 1024
    before = len(client.wire.written)
    client.send(*[Frame(Opcode.PING, b"x" * 125)] * 900)
    assert len(client.wire.written) == before
    client.wire.unread = 0
    client.send(Frame(Opcode.PING, b"now"))
    await client.hear("PONG", data=b"now")
    leave(client)


async def test_after_the_last_word_little_is_read_and_it_is_not_waited_for_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_socket, "_SHUTDOWN_SECONDS", 0.01)
    client = await greeted(place)
    client.socket.close(4401, "Token expired")
    client.socket.close(1000, "a second time")
    client.socket.write(b"and nothing behind it")
    assert await client.closed() == Close(4401, "Token expired")
    assert not client.wire.is_closed, "its answer may come"
    client.say(type="ping", ref="too late")
    client.socket.data_received(Frame(Opcode.BINARY, b"x" * 900).serialize(mask=True) * 400)
    assert not client.wire.reads
    await until(lambda: client.wire.is_aborted, what="it is dropped")
    assert not any(message["type"] == "pong" for message in client.heard)


async def test_one_that_does_not_take_its_last_word_is_dropped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_socket, "_LAST_WORDS_SECONDS", 0.01)
    client = await greeted(place)
    client.socket.close(1000, "")
    await place.is_empty()
    assert client.wire.is_aborted


async def test_when_the_server_ends_its_clients_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_socket, "_SHUTDOWN_SECONDS", 0.01)
    client = await greeted(place)
    client.socket.shutdown()
    assert (await client.closed()).code == 1001
    await until(lambda: client.wire.is_aborted, what="it is dropped")


async def test_who_is_not_let_in_sees_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_socket, "_LAST_WORDS_SECONDS", 0.01)
    assert await place.come(token="").closed() == Close(1008, "Authentication required")
    assert await place.come(token="nonsense").closed() == Close(1008, "Invalid token")
    guests = [await greeted(place) for _ in range(3)]
    assert (await place.come().closed()).code == 4429, "three of a user"
    bob = place.come(token=access_of("bob"))
    await bob.hear("connection_established")
    assert (await place.come(token=access_of("carl")).closed()) == Close(4429, "Too many connections")
    for guest in (*guests, bob):
        leave(guest)
    await place.is_empty()
    leave(await greeted(place))


async def test_one_that_goes_before_it_is_known_leaves_nothing(place: Place) -> None:
    client = place.come()
    leave(client)
    await place.is_empty()
    for steps in range(1, 5):
        client = place.come()
        for _ in range(steps):
            await asyncio.sleep(0)
        leave(client)
        await place.is_empty()
    assert isinstance(await greeted(place), Client), "no place is taken any more"
    for member in list(place.members):
        member.abort()


async def test_what_was_read_behind_a_hand_shake_is_taken_over(place: Place) -> None:
    whole = json.dumps({"type": "ping", "ref": 3}).encode()
    protocol = Protocol(Side.SERVER, state=State.OPEN)
    head = Frame(Opcode.CONT, whole[9:]).serialize(mask=True)
    protocol.receive_data(Frame(Opcode.TEXT, whole[:9], fin=False).serialize(mask=True) + head[:4])
    protocol.events_received()
    heard: list[str | bytes] = ['{"type":"ping","ref":1}', b'{"type":"ping","ref":2}']
    client = place.come(read=Read(protocol, heard, [whole[:9]], is_text=True))
    client.socket.data_received(head[4:])
    await client.hear("pong", ref=3)
    assert [message["ref"] for message in client.heard if message["type"] == "pong"] == [1, 2, 3]
    leave(client)


async def test_a_fault_of_the_program_ends_one_conversation_visibly(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("of the program")

    def fail_at_once(*_: object) -> None:
        raise RuntimeError("of another part")

    monkeypatch.setattr(direct_socket, "_LAST_WORDS_SECONDS", 0.01)
    client = await greeted(place)
    await until(lambda: not place.tasks, what="nothing going on")
    monkeypatch.setattr(Connection, "receive_at_once", fail_at_once)
    client.say(type="ping")
    assert (await client.closed()).code == 1011
    assert "of another part" in caplog.text
    monkeypatch.setattr(direct_socket, "open_conversation", fail)
    assert (await place.come().closed()).code == 1011
    assert "of the program" in caplog.text


async def test_where_a_client_is_a_trusted_proxy_may_say() -> None:
    asked: list[Address | None] = []

    async def client_of(client: Address | None, headers: Headers) -> Address | None:
        asked.append(client)
        return Address("192.0.2.7", 0)

    async with a_place(client_of) as place:
        client = await greeted(place)
        assert asked == [Address("10.0.0.1", 1)]
        leave(client)
        await place.is_empty()
