"""The hand-shake of a WebSocket as plain clients send it, read from its bytes and answered in one go.

The servers' own way costs half a millisecond: two parsers, and every layer of the application once. What is not
plain (another address, a header that is missing or twice, a head in several pieces) is theirs all the same, and so
are all refusals.
"""

import re
from binascii import Error, a2b_base64
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from websockets.utils import accept_key

PATH: Final = "/ws"
MOST_BYTES: Final = 8_192
"""A longer head is left to the others, who have limits of their own."""
_MOST_HEADERS: Final = 64
_HEAD: Final = re.compile(
    rb"GET /ws(?:\?(?P<query>[!-~]*))? HTTP/1\.1\r\n"
    rb"(?P<headers>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\r\n"
)
_ONCE: Final = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version")
_SUBPROTOCOL: Final = b"sec-websocket-protocol"
_BODY: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class HandShake(NamedTuple):
    """What was asked for. The names of the headers are in lower case."""

    query: bytes
    headers: list[tuple[bytes, bytes]]
    subprotocols: Sequence[str]
    accept: str
    """What `Sec-WebSocket-Accept` has to be."""

    def answer(self, subprotocol: str | None) -> bytes:
        """The bytes that accept it."""
        chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol is not None else ""
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {self.accept}\r\n{chosen}\r\n"
        ).encode()


def read_hand_shake(head: bytes) -> HandShake | None:
    """What a head asks for; None for what is not a plain hand-shake, whole and with nothing behind it."""
    found = _HEAD.fullmatch(head) if len(head) <= MOST_BYTES else None
    if found is None:
        return None
    headers = []
    for line in found["headers"].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    said = dict(headers)
    accept = _accept(said)
    are_single = (len(said) == len(headers) and b"host" in said) or _are_single(headers)
    if accept is None or len(headers) > _MOST_HEADERS or not _BODY.isdisjoint(said) or not are_single:
        return None
    subprotocols: list[str] = []
    if _SUBPROTOCOL in said:
        offered = [value.decode() for name, value in headers if name == _SUBPROTOCOL]
        subprotocols = [one.strip() for value in offered for one in value.split(",")]
    return HandShake(found["query"] or b"", headers, subprotocols, accept)


def _are_single(headers: Collection[tuple[bytes, bytes]]) -> bool:
    names = [name for name, _ in headers]
    return all(names.count(name) == 1 for name in _ONCE)


def _accept(said: Mapping[bytes, bytes]) -> str | None:
    """The answer to the key, where all else asks for a WebSocket of the one version that there is."""
    key = said.get(b"sec-websocket-key", b"")
    connection = said.get(b"connection", b"").lower()
    is_upgrade = connection == b"upgrade" or b"upgrade" in [token.strip() for token in connection.split(b",")]
    if said.get(b"upgrade", b"").lower() != b"websocket" or not is_upgrade:
        return None
    try:
        is_key = len(a2b_base64(key, strict_mode=True)) == 16
    except Error:
        return None
    return accept_key(key.decode()) if is_key and said.get(b"sec-websocket-version") == b"13" else None
