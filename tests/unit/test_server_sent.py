"""Server-Sent Events as bytes, and what the standard makes of them."""

import pytest
from lastseen.server_sent import Parser

from service.domain import server_sent
from tests.event_source import Dispatched, EventSource

STREAM = (
    server_sent.retry(1500)
    + server_sent.moved("e:0=-1")
    + server_sent.event('{"a":"é\\n","data":": x"}'.encode(), "e:0=0")
    + server_sent.event(b'{\r\n"a":\r1\n}', "e:0=1")
    + server_sent.named({"type": "gap", "reason": "lost"}, "e:0=5")
    + server_sent.named({"type": "error", "code": "unavailable"})
    + server_sent.moved("e:0=9")
)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_they_are_read_however_they_are_cut(size: int) -> None:
    source = EventSource()
    for at in range(0, len(STREAM), size):
        source.feed(STREAM[at : at + size])
    assert source.dispatched == [
        Dispatched("message", {"a": "é\n", "data": ": x"}, "e:0=0"),
        Dispatched("message", {"a": 1}, "e:0=1"),
        Dispatched("gap", {"type": "gap", "reason": "lost"}, "e:0=5"),
        Dispatched("error", {"type": "error", "code": "unavailable"}, "e:0=5"),
    ]
    assert (source.last_event_id, source.retry_ms) == ("e:0=9", 1500)


def test_an_event_that_was_cut_off_moves_nothing() -> None:
    source = EventSource()
    source.feed(server_sent.event(b"{}", "e:0=0") + server_sent.event(b'{"b":1}', "e:0=1")[:-1])
    source.cut()
    source.feed(server_sent.retry(7))
    assert (source.events, source.last_event_id) == ([{}], "e:0=0")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_client_s_parser_reads_it_however_it_was_cut(line_end: bytes, size: int) -> None:
    said = (
        server_sent.retry(700)
        + b":\n\n"
        + server_sent.moved("k:0=1")
        + server_sent.event('{"a":"é"}'.encode(), "k:0=2")
        + server_sent.named({"type": "unsubscribed"})
        + server_sent.event(b'{"b":\n1}', "k:0=3")
        + b"id: k:0=9\ndata: cut"
    ).replace(b"\n", line_end)
    parser = Parser("k:0=0")
    found = [sent for at in range(0, len(said), size) for sent in parser.feed(said[at : at + size])]
    assert found == [
        ("message", '{"a":"é"}', "k:0=2"),
        ("unsubscribed", '{"type":"unsubscribed"}', "k:0=2"),
        ("message", '{"b":\n1}', "k:0=3"),
    ]
    assert (parser.last_id, parser.retry_ms) == ("k:0=3", 700)
