"""The sockets that a server listens on."""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from service.domain.errors import LastseenError

BACKLOG: Final = 4096
_TAKERS: Final = 16
"""libuv takes one connection from a socket in each step of the event loop, however many wait. A crowd comes faster: its
queue runs over, and the kernel lets clients wait for seconds or resets them. So each socket is there several times."""


@contextmanager
def listening(host: str, port: int) -> Iterator[Sequence[socket.socket]]:
    """Sockets that listen on all addresses of the host; closed at the end. Raises LastseenError."""
    with contextlib.ExitStack() as stack:
        sockets = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((one[0], one[4]) for one in found):
                first = stack.enter_context(_listen(family, address))
                sockets += [first, *(stack.enter_context(first.dup()) for _ in range(_TAKERS - 1))]
        except OSError as error:
            raise LastseenError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
        yield sockets


def _listen(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
