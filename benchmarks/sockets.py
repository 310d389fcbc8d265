"""A WebSocket client as bare as can be: what it costs must not be what is measured."""

import base64
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from lastseen.positions import EARLIEST_TOKEN

TIMEOUT_SECONDS = 60.0
_RECEIVE = 65_536


def connect(host: str, port: int, token: str, *, receive_buffer: int | None = None) -> socket.socket:
    """A blocking socket, greeted by the node. Raises OSError, or RuntimeError for another answer.

    `receive_buffer`: what the kernel is to hold of what comes, where that is not left to it.
    """
    authorization = f"Authorization: Bearer {token}\r\n"
    connection = upgraded(host, port, "/ws", more=authorization, receive_buffer=receive_buffer)
    await_message(connection, "connection_established")
    # Behind what came while away, of which there is nothing.
    await_message(connection, "ping")
    return connection


def upgraded(host: str, port: int, target: str, *, more: str = "", receive_buffer: int | None = None) -> socket.socket:
    """A blocking socket behind the hand-shake of a WebSocket, with `more` lines in its head; what follows is not read.

    Raises OSError, or RuntimeError where the server does not accept it.
    """
    connection = socket.socket()
    connection.settimeout(TIMEOUT_SECONDS)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        peeked = connection.recv(_RECEIVE, socket.MSG_PEEK)
        end = peeked.find(b"\r\n\r\n")
        head += _exactly(connection, len(peeked) if end < 0 else end + 4)
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"the server did not accept the connection: {head[:300]!r}")
    return connection


def subscribe(connection: socket.socket, channel: str, *, from_start: bool = False) -> None:
    """Subscribe to a channel, from now on or from everything held. Raises RuntimeError when it is refused."""
    send(connection, {"type": "subscribe", "channel": channel} | ({"after": EARLIEST_TOKEN} if from_start else {}))
    await_message(connection, "subscription_result")


def send(connection: socket.socket, message: Mapping[str, object]) -> None:
    """Send one message of less than 64 KiB."""
    send_text(connection, json.dumps(message))


def send_text(connection: socket.socket, text: str) -> None:
    """Send a text of less than 64 KiB, masked as a client's frames are."""
    payload = text.encode()
    mask = os.urandom(4)
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    connection.sendall(b"\x81" + length + mask + masked)


def await_message(connection: socket.socket, type_: str) -> None:
    """Read messages, byte for byte, up to the next of that type. Raises RuntimeError for an error."""
    while (message := _message(connection)).get("type") != type_:
        if message.get("type") == "error":
            raise RuntimeError(f"the node said, instead of {type_}: {message}")


def _message(connection: socket.socket) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(receive_text(connection))
    return message


def receive_text(connection: socket.socket) -> bytes:
    """The next message, of one frame, byte for byte. Raises ConnectionError."""
    size = _exactly(connection, 2)[1]
    if size == 126:
        size = int.from_bytes(_exactly(connection, 2))
    elif size == 127:
        size = int.from_bytes(_exactly(connection, 8))
    return _exactly(connection, size)


def receive_until(connection: socket.socket, word: bytes) -> list[bytes]:
    """The pieces that come up to the message with `word`, which must be flat, short and the last.

    Raises ConnectionError.
    """
    pieces: list[bytes] = []
    last = b""
    while not (last.endswith(b"}") and word in last):
        piece = connection.recv(_RECEIVE)
        if not piece:
            raise ConnectionError(f"the node closed the connection before it said {word.decode()}")
        pieces.append(piece)
        # The message may lie across two pieces.
        last = (last + piece)[-1024:]
    return pieces


def count_until(connection: socket.socket, counted: bytes, word: bytes) -> int:
    """How often `counted` comes up to the message with `word`, as in `receive_until`; what came is not kept."""
    count = 0
    last = b""
    keep = len(counted) - 1
    while not (last.endswith(b"}") and word in last):
        piece = connection.recv(_RECEIVE)
        if not piece:
            raise ConnectionError(f"the node closed the connection before it said {word.decode()}")
        # One that lies across two pieces is found in the second, none is found twice.
        count += (last[-keep:] + piece).count(counted)
        last = (last + piece)[-1024:]
    return count


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = connection.recv(size, socket.MSG_WAITALL) if size else b""
    if len(received) < size:
        raise ConnectionError("the server closed the connection")
    return received
