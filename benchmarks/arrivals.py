"""A process whose clients only come: `python -m benchmarks.arrivals`.

stdin: a line each:

- an `Order` as JSON: they come, so many on their way at a time, and stay;
- `stay SECONDS`: those who have stayed read what comes, and answer each ping;
- `cut`: they are dropped, without a word.

stdout: a line each: the `Arrived` as JSON, how many pings were answered, or `cut`. It raises RuntimeError for one that
isn't greeted, and ConnectionError for one that is cut off.
"""

import json
import select
import socket
import struct
import sys
import time
from typing import Final, NamedTuple, TypedDict

_SECONDS: Final = 120.0
_BUFFER: Final = 65_536
_GREETING: Final = b'"type":"connection_established"'
_PING: Final = b'"type":"ping"'
_PONG: Final = b"\x81\x8f\0\0\0\0" + b'{"type":"pong"}'
"""One message of a client, masked with zeros."""
_DROP: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection is reset, and its port free at once."""


class Order(TypedDict):
    """Where to come to, and with what: one head of a hand-shake for each client."""

    host: str
    port: int
    at_once: int
    heads: list[str]


class Arrived(TypedDict):
    """Seconds until the last was greeted, what this process used of its core for it, and the bytes that came."""

    seconds: float
    cpu_seconds: float
    bytes: int


class _Coming(NamedTuple):
    """One on its way. `heard` is what came so far."""

    socket: socket.socket
    head: bytes
    heard: bytearray


def main() -> None:
    """Do as told until stdin ends."""
    stayed: list[socket.socket] = []
    for line in sys.stdin:
        if line.startswith("{"):
            answer = json.dumps(_come(json.loads(line), stayed))
        elif line.startswith("stay"):
            answer = str(_stay(float(line.split()[1]), stayed))
        else:
            _cut(stayed)
            answer = "cut"
        print(answer, flush=True)


def _come(order: Order, stayed: list[socket.socket]) -> Arrived:
    waiting = [head.encode() for head in reversed(order["heads"])]
    address = order["host"], order["port"]
    coming: dict[int, _Coming] = {}
    size = 0
    started, used = time.perf_counter(), time.process_time()
    with select.epoll() as ready:
        while waiting or coming:
            if time.perf_counter() - started > _SECONDS:
                raise TimeoutError(f"{len(waiting) + len(coming)} clients were not greeted within {_SECONDS:g} s")
            while waiting and len(coming) < order["at_once"]:
                one = _Coming(_set_out(address), waiting.pop(), bytearray())
                coming[one.socket.fileno()] = one
                ready.register(one.socket.fileno(), select.EPOLLOUT)
            for fd, what in ready.poll(1.0):
                one = coming[fd]
                if what == select.EPOLLOUT:
                    one.socket.send(one.head)
                    ready.modify(fd, select.EPOLLIN)
                    continue
                piece = one.socket.recv(_BUFFER)
                one.heard.extend(piece)
                if not piece:
                    raise RuntimeError(f"a client was not greeted but told {bytes(one.heard[-500:])!r}")
                if _GREETING in one.heard:
                    size += len(one.heard)
                    ready.unregister(fd)
                    stayed.append(coming.pop(fd).socket)
    return Arrived(seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - used, bytes=size)


def _stay(seconds: float, stayed: list[socket.socket]) -> int:
    """Read and answer for so long; how many answers that were."""
    by_fd = {one.fileno(): one for one in stayed}
    ends = dict.fromkeys(by_fd, b"")
    until = time.perf_counter() + seconds
    answered = 0
    with select.epoll() as ready:
        for fd in by_fd:
            ready.register(fd, select.EPOLLIN)
        while (left := until - time.perf_counter()) > 0:
            for fd, _ in ready.poll(left):
                piece = by_fd[fd].recv(_BUFFER)
                if not piece:
                    raise ConnectionError(f"a client was cut off behind {ends[fd]!r}")
                # What lies across two pieces is found in the second, and nothing twice.
                for _ in range((ends[fd] + piece).count(_PING)):
                    by_fd[fd].send(_PONG)
                    answered += 1
                ends[fd] = piece[-len(_PING) + 1 :]
    return answered


def _cut(stayed: list[socket.socket]) -> None:
    for one in stayed:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)
        one.close()
    stayed.clear()


def _set_out(address: tuple[str, int]) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.connect_ex(address)
    return one


if __name__ == "__main__":
    main()
