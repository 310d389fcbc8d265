"""The NDJSON stream of the history: whole with its last line, or visibly broken off."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_core import from_json
from starlette.requests import Request

from service.domain.identity import Identity
from service.web.app import create_app
from service.web.history import _wants_lines
from tests.pasts import Past
from tests.raw import task_event

IDENTITY = Identity("u", "", frozenset(), frozenset(), 2**31)


async def long_past() -> Past:
    """More than one page, all of it in Postgres alone."""
    past = Past(window_bytes=0, partitions=1)
    for number in range(300):
        past.add(task_event(data={"number": number}), 0)
    await past.copied.project()
    past.log.drop_below(0, 300)
    return past


class Reader:
    """Calls the application as a server does; `after_chunk` happens behind each chunk that was taken."""

    def __init__(self, past: Past, after_chunk: Callable[["Reader"], object] = lambda _: None) -> None:
        self.may_read = True
        self.now_ms = 0
        self.after_chunk = after_chunk
        self.messages: list[dict[str, Any]] = []
        access = SimpleNamespace(judge=self._judge, still_may=lambda *_: self.may_read, contradicts=lambda _: False)
        clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        node: Any = SimpleNamespace(services=SimpleNamespace(access=access, clock=clock, history=past.history))
        door: Any = SimpleNamespace(identify=self._identify, origins=frozenset())
        self.app = create_app(node, door)

    async def _judge(self, _: Identity, names: tuple[str, ...]) -> dict[str, bool]:
        return dict.fromkeys(names, True)

    async def _identify(self, *_: object) -> Identity:
        return IDENTITY

    async def read(self, query: str = "channel=task:t") -> None:
        """GET the stream."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/v1/events",
            "raw_path": b"/api/v1/events",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer x"), (b"accept", b"text/html;q=0.1, application/x-ndjson")],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        never = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.messages.append(message)
            if message["type"] == "http.response.body" and message.get("body"):
                self.after_chunk(self)

        async with asyncio.timeout(10):
            await self.app(scope, receive, send)

    @property
    def lines(self) -> list[dict[str, Any]]:
        body = b"".join(message.get("body", b"") for message in self.messages)
        return [from_json(line) for line in body.splitlines()]

    @property
    def is_complete(self) -> bool:
        return not self.messages[-1].get("more_body", False)


async def test_a_whole_stream_ends_with_the_watermark() -> None:
    reader = Reader(await long_past())
    await reader.read()
    *events, last = reader.lines
    assert [event["data"]["number"] for event in events] == list(range(300))
    assert last == {"watermark": "e:0=299"}
    assert reader.is_complete
    assert len(reader.messages) > 3, "in chunks"


async def test_a_stream_without_any_event_is_whole_too() -> None:
    reader = Reader(await long_past())
    await reader.read("channel=task:none")
    assert reader.lines == [{"watermark": "e:0=299"}]
    assert reader.is_complete


@pytest.mark.parametrize("what", ["postgres", "rights", "token"])
async def test_a_stream_that_cannot_go_on_breaks_off(what: str) -> None:
    past = await long_past()

    def fail(reader: Reader) -> None:
        match what:
            case "postgres":
                past.copied.available = False
            case "rights":
                reader.may_read = False
            case _:
                reader.now_ms = 2**31 * 1000

    reader = Reader(past, fail)
    await reader.read()
    assert 0 < len(reader.lines) < 300
    assert all("offset" in line for line in reader.lines)
    assert not reader.is_complete


async def test_what_cannot_even_begin_is_a_problem() -> None:
    past = await long_past()
    past.copied.available = False
    reader = Reader(past)
    await reader.read()
    assert (reader.messages[0]["status"], reader.lines[0]["code"]) == (503, "history_unavailable")
    assert (b"retry-after", b"5") in reader.messages[0]["headers"]
    denied = Reader(await long_past())
    denied.may_read = False
    await denied.read()
    assert (denied.messages[0]["status"], denied.lines[0]["code"]) == (403, "access_denied")


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        ("application/x-ndjson", True),
        ("text/html;q=0.1, application/x-ndjson", True),
        ("*/*", False),
        ("application/json, application/x-ndjson;q=0.5", False),
        ("application/json;q=0.5, Application/X-NDJSON; q=0.8", True),
        ("application/x-ndjson;q=0", False),
    ],
)
def test_lines_come_where_they_are_liked_best(accept: str, lines: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert _wants_lines(request) is lines
