"""A process that takes what many sockets get and only counts the bytes of each: `python -m benchmarks.sink`.

stdin: first one JSON object `{"host", "port", "sockets", "token", "channel", "counter"}` (with a null token: plain
sockets); then, a line each, the number of bytes that every socket is to have got in all. stdout: `ready`, then for each
number, once all have so many, the least and the most that one has got. `counter` is the program that counts
(`counter.c`), which this process becomes; where that is null, it is done in Python.
"""

import json
import os
import selectors
import socket
import sys

from benchmarks.sockets import connect, subscribe

_BUFFER = 1 << 20
_QUIET_SECONDS = 2.0
"""Longer than it takes until the others are told that somebody has come."""


def main() -> None:
    """Connect, count and answer until stdin ends."""
    order = json.loads(sys.stdin.buffer.readline())
    address = order["host"], order["port"]
    counted = selectors.DefaultSelector()
    for _ in range(order["sockets"]):
        if order["token"] is None:
            connection = socket.create_connection(address)
        else:
            connection = connect(*address, order["token"])
            subscribe(connection, order["channel"])
        connection.setblocking(False)
        counted.register(connection, selectors.EVENT_READ, connection)
    _pass_over(counted)
    print("ready", flush=True)
    if order["counter"] is None:
        _count(counted)
    else:
        fds = [key.fd for key in counted.get_map().values()]
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execv(order["counter"], [order["counter"], *map(str, fds)])


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
