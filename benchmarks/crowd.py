"""A process that is many clients which come, are cut off, and return: `python -m benchmarks.crowd`.

stdin: first one JSON object, the `Order`; then a line each:

- `come`: all connect for the first time and keep the position that they are told;
- `cut`: all connections are dropped, without a word;
- `return PORT`: all return to that port within `seconds`, each with its position, and read until they have caught up;
- `ask PORT`: the same, but each asks for its project by a `subscribe`, once it is greeted.

stdout: a line each: `ready`, then for `come` and `cut` the word itself, for the others one JSON object, the `Result`.
It raises RuntimeError for a client that did not get exactly what it missed; what is never looked at are the events of
who comes and goes.
"""

import json
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

from lastseen.channels import BROADCAST

from benchmarks.missed import NUMBERED, Missed, read_missed
from benchmarks.projects import project_of, user_of
from service.adapters.tokens import issue

_AT_ONCE: Final = 200
"""Clients that come for the first time: so many are on their way at a time."""
_SECONDS: Final = 900.0
_BUFFER: Final = 1 << 18
_CAUGHT_UP: Final = b'"type":"caught_up"'
_ERROR: Final = b'"type":"error"'
_ESTABLISHED: Final = b'"type":"connection_established"'
_PING: Final = re.compile(rb'"type":"ping","timestamp":"[^"]*","position":"([^"]+)"')
_EVENT: Final = re.compile(NUMBERED + rb'"\},"replay":\["[^\]]*"\],"partition":\d+,"offset":\d+\}')
_DROP: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection is reset, and its port free at once."""


class Order(TypedDict):
    """Whom to be, and what to expect. `missed` is the file of `benchmarks.missed`, read at the first return."""

    host: str
    port: int
    secret: str
    clients: int
    projects: int
    seconds: float
    missed: str
    settle_seconds: float
    """Heartbeats before that, counted from when the last has come, don't count: others still come and go."""


class Result(TypedDict):
    """What a return took: seconds since the first client set out until the median one, and the last, had caught up."""

    seconds: float
    median: float
    bytes: int
    events: int


class Client:
    """One client."""

    __slots__ = ("asks", "got", "is_sent", "pieces", "position", "project", "socket", "token", "user")

    def __init__(self, number: int, projects: int, secret: str) -> None:
        self.user = user_of(number)
        self.project = project_of(number, projects)
        self.token = issue(secret, self.user, "", (), (), 7200, int(time.time()))
        self.position = ""
        self.socket: socket.socket | None = None
        self.pieces: list[bytes] = []
        self.got = 0
        self.is_sent = False
        self.asks = False
        """Whether it has yet to ask for its project."""

    @property
    def fileno(self) -> int:
        """Of its socket."""
        assert self.socket is not None, "it has set out"
        return self.socket.fileno()

    def send(self, said: bytes) -> None:
        """Send something short."""
        assert self.socket is not None, "it has set out"
        self.socket.send(said)

    def receive(self) -> bytes:
        """What came. Raises ConnectionError when it was closed."""
        assert self.socket is not None, "it has set out"
        try:
            piece = self.socket.recv(_BUFFER)
        except OSError as error:
            raise ConnectionError(f"client {self.user}, sent {self.is_sent}, got {self.got} bytes: {error}") from error
        if not piece:
            raise ConnectionError(f"client {self.user} was closed, behind {b''.join(self.pieces)[-300:]!r}")
        return piece


def main() -> None:
    """Do as told until stdin ends."""
    order: Order = json.loads(sys.stdin.buffer.readline())
    crowd = Crowd(order)
    _say("ready")
    for line in sys.stdin:
        word, *arguments = line.split()
        if word == "come":
            crowd.come()
            _say(word)
        elif word == "cut":
            crowd.cut()
            _say(word)
        else:
            _say(json.dumps(crowd.come_back(int(arguments[0]), asking=word == "ask")))


def _say(line: str) -> None:
    print(line, flush=True)


class Crowd:
    """The clients, moved by one loop over their sockets."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._clients = [Client(n, order["projects"], order["secret"]) for n in range(order["clients"])]
        self._missed: Missed | None = None

    def come(self) -> None:
        """Connect all for the first time, and read until each knows by a heartbeat where it is.

        Those before it answer the offline messages: who came later than another was told of nothing by its own.
        """
        for _, client in self._run(self._order["port"], _AT_ONCE, 0.0, 0):
            client.pieces = []
        by_socket = {client.fileno: client for client in self._clients}
        started = time.perf_counter()
        with select.epoll() as ready:
            for fd in by_socket:
                ready.register(fd, select.EPOLLIN)
            left = set(by_socket)
            while left:
                if time.perf_counter() - started > _SECONDS:
                    raise TimeoutError(f"{len(left)} clients got no heartbeat within {_SECONDS:g} s")
                for fd, _ in ready.poll(1.0):
                    client = by_socket[fd]
                    client.pieces = [*client.pieces[-1:], client.receive()]
                    found = _PING.findall(b"".join(client.pieces))
                    if found and time.perf_counter() - started > self._order["settle_seconds"]:
                        client.position = found[-1].decode()
                        left.discard(fd)

    def cut(self) -> None:
        """Drop all connections."""
        for client in self._clients:
            if client.socket is not None:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)
                client.socket.close()
                client.socket = None

    def come_back(self, port: int, *, asking: bool) -> Result:
        """Connect all again, each where it has been, and check what each gets."""
        for client in self._clients:
            client.asks = asking
        if self._missed is None:
            self._missed = read_missed(Path(self._order["missed"]))
        missed = self._missed
        asked = 2 if asking else 1
        started = time.perf_counter()
        took: list[float] = []
        size = events = 0
        for at, client in self._run(port, len(self._clients), self._order["seconds"], asked):
            took.append(at - started)
            size += client.got
        took.sort()
        # Behind it all: whoever checks one client meanwhile reads from no other.
        if port == self._order["port"]:  # what the bare loop sends is anybody's
            events = sum(check(client, missed) for client in self._clients)
        for client in self._clients:
            client.pieces = []
        return Result(seconds=took[-1], median=took[len(took) // 2], bytes=size, events=events)

    def _run(self, port: int, at_once: int, seconds: float, asked: int) -> Iterator[tuple[float, Client]]:
        """Connect all within `seconds`; each client with the time at which it had caught up `asked` times.

        With 0 it has been greeted: of what came while away it may be told that it can't be had now.
        """
        waiting = iter(self._clients)
        number, amount = 0, len(self._clients)
        under_way: dict[int, Client] = {}
        left = amount
        started = time.perf_counter()
        with select.epoll() as ready:
            while left:
                now = time.perf_counter()
                if now - started > _SECONDS:
                    raise TimeoutError(f"{left} of {amount} clients have not caught up within {_SECONDS:g} s")
                while number < amount and len(under_way) < at_once and now >= started + seconds * number / amount:
                    client = next(waiting)
                    number += 1
                    fd = self._set_out(client, port)
                    under_way[fd] = client
                    ready.register(fd, select.EPOLLOUT | select.EPOLLIN)
                is_paced = number < amount and seconds > 0
                for fd, what in ready.poll(0.001 if is_paced else 1.0):
                    client = under_way[fd]
                    if not client.is_sent and what & select.EPOLLOUT:
                        self._send(client, port)
                        ready.modify(fd, select.EPOLLIN)
                    if what & ~select.EPOLLOUT and self._receive(client, asked):
                        del under_way[fd]
                        ready.unregister(fd)
                        left -= 1
                        yield time.perf_counter(), client

    def _set_out(self, client: Client, port: int) -> int:
        client.pieces, client.got, client.is_sent = [], 0, False
        client.socket = socket.socket()
        client.socket.setblocking(False)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.socket.connect_ex((self._order["host"], port))
        return client.socket.fileno()

    def _send(self, client: Client, port: int) -> None:
        client.is_sent = True
        query = [] if client.asks else [f"project_id={client.project}"]
        if client.position:
            query.append(f"after={client.position}")
        # As the client in Python sends it.
        said = (
            f"GET /ws?{'&'.join(query)} HTTP/1.1\r\nHost: {self._order['host']}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            "Sec-WebSocket-Protocol: lastseen.v1\r\nUser-Agent: Python/3.13 websockets/15.0\r\n"
            f"Authorization: Bearer {client.token}\r\n\r\n"
        ).encode()
        client.send(said)

    def _receive(self, client: Client, asked: int) -> bool:
        """Take what came; whether it has caught up."""
        piece = client.receive()
        before = client.pieces[-1][-64:] if client.pieces else b""
        client.pieces.append(piece)
        client.got += len(piece)
        if client.asks and _ESTABLISHED in piece:
            client.asks = False
            channel = f"project:{client.project}"
            client.send(_frame({"type": "subscribe", "channel": channel, "after": client.position}))
        if asked == 0:
            return _ESTABLISHED in before + piece
        if _ERROR in before + piece:
            raise RuntimeError(f"client {client.user} was told {piece[-500:]!r}")
        if asked == 1:
            return _CAUGHT_UP in before + piece
        return _CAUGHT_UP in before + piece and b"".join(client.pieces).count(_CAUGHT_UP) == asked


def check(client: Client, missed: Missed) -> int:
    """How many events a client got. Raises RuntimeError unless they are those of its channels, in order, once each."""
    found = _EVENT.findall(b"".join(client.pieces))
    expected = 0
    for channel in (BROADCAST, f"project:{client.project}", f"user:{client.user}"):
        mark = b'"replay":["%b"]' % channel.encode()
        mine = [event for event in found if mark in event]
        wanted = missed[channel]
        if mine != wanted:
            raise RuntimeError(f"client {client.user} got {len(mine)} events of {channel}, it missed {len(wanted)}")
        expected += len(mine)
    if len(found) != expected:
        raise RuntimeError(
            f"client {client.user} got {len(found)} events, {len(found) - expected} of no channel of its"
        )
    return len(found)


def _frame(message: Mapping[str, Any]) -> bytes:
    """One message of a client, masked with zeros."""
    payload = json.dumps(message).encode()
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2)
    return b"\x81" + length + bytes(4) + payload


if __name__ == "__main__":
    main()
