"""A process that takes what many sockets get and only counts the bytes: `python -m benchmarks.sink`.

stdin: first one JSON object `{"host", "port", "sockets", "token", "channel"}` (with a null token: plain
sockets); then, a line each, the number of bytes in all to wait for. stdout: `ready`, then for each number
what was reached, which is more if more came.
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
    _count(counted)


def _pass_over(sockets: selectors.BaseSelector) -> None:
    """Let what tells of the sockets' own coming go by."""
    buffer = bytearray(_BUFFER)
    while ready := sockets.select(_QUIET_SECONDS):
        for key, _ in ready:
            if key.data.recv_into(buffer) == 0:
                raise ConnectionError("a subscriber's connection was closed")


def _count(sockets: selectors.BaseSelector) -> None:
    buffer = bytearray(_BUFFER)
    orders = sys.stdin.fileno()
    sockets.register(orders, selectors.EVENT_READ, None)
    got = 0
    wanted: int | None = None
    while True:
        for key, _ in sockets.select():
            if key.data is None:
                line = os.read(orders, 64)
                if not line:
                    return
                wanted = int(line)
            else:
                size = key.data.recv_into(buffer)
                if size == 0:
                    raise ConnectionError("a subscriber's connection was closed")
                got += size
        if wanted is not None and got >= wanted:
            print(got, flush=True)
            wanted = None


if __name__ == "__main__":
    main()
