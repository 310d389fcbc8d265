"""A process that serves ready bytes to whoever connects, and no more: `python -m benchmarks.bare_storm SIZE TYPE`.

It accepts, waits for the end of a hand-shake's head, and sends an answer of SIZE bytes in all, which ends with a
message of that TYPE. stdout: its port.
"""

import contextlib
import select
import socket
import sys
from typing import Final

from service.embedded.free_ports import HOST

_BACKLOG: Final = 4096
_HEAD: Final = 65_536
_HELLO: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def main() -> None:
    """Serve until ended."""
    size = int(sys.argv[1])
    end = b'{"type":"%b"}' % sys.argv[2].encode()
    answer = _HELLO + b"x" * max(size - len(_HELLO) - len(end), 0) + end
    with socket.create_server((HOST, 0), backlog=_BACKLOG) as server, select.epoll() as ready:
        server.setblocking(False)
        ready.register(server.fileno(), select.EPOLLIN)
        print(server.getsockname()[1], flush=True)
        sockets: dict[int, socket.socket] = {}
        left: dict[int, memoryview] = {}
        while True:
            for fd, what in ready.poll():
                if fd == server.fileno():
                    one = server.accept()[0]
                    one.setblocking(False)
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sockets[one.fileno()] = one
                    ready.register(one.fileno(), select.EPOLLIN)
                    continue
                one = sockets[fd]
                try:
                    if what & select.EPOLLOUT:
                        _send(ready, fd, one, left)
                    elif one.recv(_HEAD).endswith(b"\r\n\r\n"):
                        left[fd] = memoryview(answer)
                        _send(ready, fd, one, left)
                    else:
                        raise ConnectionResetError
                except (ConnectionResetError, BrokenPipeError):
                    ready.unregister(fd)
                    one.close()
                    del sockets[fd]


def _send(ready: select.epoll, fd: int, one: socket.socket, left: dict[int, memoryview]) -> None:
    rest = left.pop(fd)
    with contextlib.suppress(BlockingIOError):
        rest = rest[one.send(rest) :]
    if rest:
        left[fd] = rest
        ready.modify(fd, select.EPOLLOUT)
    else:
        ready.modify(fd, select.EPOLLIN)


if __name__ == "__main__":
    main()
