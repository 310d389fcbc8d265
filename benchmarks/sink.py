"""A process that takes what many sockets get and only counts the bytes of each: `python -m benchmarks.sink`.

stdin: first one JSON object, `{"host", "port", "sockets", "counter"}` and how each socket connects: with `token` and
`channel` as a subscriber of a node; with `target` by a WebSocket's hand-shake there, after which it says `says`, unless
that is null, and hears what comes up to a message that begins with `hears`; with neither it is a plain socket. Then, a
line each, the number of bytes that every socket is to have got in all. stdout: `ready`, then for each number, once all
have so many, the least and the most that one has got. `counter` is the program that counts (`counter.c`), which this
process becomes; where that is null, it is done in Python.
"""

import json
import os
import selectors
import socket
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.sockets import connect, receive_text, send_text, subscribe, upgraded

_BUFFER = 1 << 20
_QUIET_SECONDS = 2.0
"""Longer than it takes until the others are told that somebody has come."""


def main() -> None:
    """Connect, count and answer until stdin ends."""
    order = json.loads(sys.stdin.buffer.readline())
    counted = selectors.DefaultSelector()
    for _ in range(order["sockets"]):
        connection = _connected(order)
        connection.setblocking(False)
        counted.register(connection, selectors.EVENT_READ, connection)
    if "token" in order:
        _pass_over(counted)
    print("ready", flush=True)
    if order["counter"] is None:
        _count(counted)
    else:
        fds = [key.fd for key in counted.get_map().values()]
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execv(order["counter"], [order["counter"], *map(str, fds)])


def _connected(order: Mapping[str, Any]) -> socket.socket:
    address = order["host"], order["port"]
    if "token" in order:
        connection = connect(*address, order["token"])
        subscribe(connection, order["channel"])
    elif "target" in order:
        connection = upgraded(*address, order["target"])
        if order["says"] is not None:
            send_text(connection, order["says"])
        while not receive_text(connection).startswith(order["hears"].encode()):
            pass
    else:
        connection = socket.create_connection(address)
    return connection


def _pass_over(sockets: selectors.BaseSelector) -> None:
    """Let what tells of the sockets' own coming go by."""
    buffer = bytearray(_BUFFER)
    while ready := sockets.select(_QUIET_SECONDS):
        for key, _ in ready:
            if key.data.recv_into(buffer) == 0:
                raise ConnectionError("a subscriber's connection was closed")


def _count(sockets: selectors.BaseSelector) -> None:
    buffer = bytearray(_BUFFER)
    got = {key.fd: 0 for key in sockets.get_map().values()}
    orders = sys.stdin.fileno()
    sockets.register(orders, selectors.EVENT_READ, None)
    wanted: int | None = None
    lacking: set[int] = set()
    while True:
        for key, _ in sockets.select():
            if key.data is None:
                line = os.read(orders, 64)
                if not line:
                    return
                wanted = int(line)
                lacking = {fd for fd, size in got.items() if size < wanted}
            else:
                size = key.data.recv_into(buffer)
                if size == 0:
                    raise ConnectionError("a subscriber's connection was closed")
                got[key.fd] += size
                if wanted is not None and got[key.fd] >= wanted:
                    lacking.discard(key.fd)
        if wanted is not None and not lacking:
            print(min(got.values()), max(got.values()), flush=True)
            wanted = None


if __name__ == "__main__":
    main()
