"""The short way in takes plain hand-shakes and nothing else: all others are the servers' own to answer."""

import pytest
from websockets.utils import accept_key

from service.web.hand_shake import MOST_BYTES, read_hand_shake

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = {
    "Host": "127.0.0.1:8080",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "lastseen.v1, bearer.abc",
    "Origin": "https://app.example.com",
}


def head(first: str = "GET /ws?after=e:0=1&project_id=p HTTP/1.1", *more: str, **changed: str | None) -> bytes:
    """A head with some headers changed (`_` for `-`) or, with None, left out, and more lines."""
    new = {name.replace("_", "-").lower(): value for name, value in changed.items()}
    lines = [f"{name}: {new.get(name.lower(), value)}" for name, value in HEADERS.items()]
    left_out = {name for name, value in new.items() if value is None}
    kept = [line for line in lines if line.split(":")[0].lower() not in left_out]
    return "\r\n".join([first, *kept, *more, "", ""]).encode("latin-1")


def test_a_plain_one_is_read() -> None:
    asked = read_hand_shake(head())
    assert asked is not None
    assert asked.query == b"after=e:0=1&project_id=p"
    assert (b"origin", b"https://app.example.com") in asked.headers
    assert asked.subprotocols == ["lastseen.v1", "bearer.abc"]
    assert asked.answer("lastseen.v1").decode().split("\r\n") == [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(KEY)}",
        "Sec-WebSocket-Protocol: lastseen.v1",
        "",
        "",
    ]
    assert b"Protocol:" not in asked.answer(None)


def test_without_a_query_it_is_plain_too() -> None:
    asked = read_hand_shake(head("GET /ws HTTP/1.1", upgrade="WebSocket"))
    assert asked is not None
    assert asked.query == b""


@pytest.mark.parametrize(
    "other",
    [
        b"",
        head()[:-2],
        head() + b"\x81\x80\x00\x00\x00\x00",
        head("GET /ws/ HTTP/1.1"),
        head("GET /wsx HTTP/1.1"),
        head("GET /ws?a b HTTP/1.1"),
        head("GET /ws HTTP/1.0"),
        head("POST /ws HTTP/1.1"),
        head("GET http://x/ws HTTP/1.1"),
        head("GET /ws HTTP/1.1", "Host: other"),
        head("GET /ws HTTP/1.1", "Content-Length: 0"),
        head("GET /ws HTTP/1.1", "Transfer-Encoding: chunked"),
        head("GET /ws HTTP/1.1", "X-Folded: a", " b"),
        head("GET /ws HTTP/1.1", "X-Name : a"),
        head("GET /ws HTTP/1.1", "X-Byte: \xe9"),
        head("GET /ws HTTP/1.1", "X-Nul: \x00"),
        head("GET /ws HTTP/1.1", *[f"X-{n}: a" for n in range(64)]),
        head("GET /ws HTTP/1.1", f"X-Long: {'x' * MOST_BYTES}"),
        head("GET /ws HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"),
        head(host=None),
        head(upgrade=None),
        head(upgrade="h2c"),
        head(connection="keep-alive"),
        head(sec_websocket_version="8"),
        head(sec_websocket_version=None),
        head(sec_websocket_key=None),
        head(sec_websocket_key="dGhl"),
        head(sec_websocket_key="not base64"),
    ],
)
def test_what_is_not_plain_is_left_to_the_others(other: bytes) -> None:
    assert read_hand_shake(other) is None
