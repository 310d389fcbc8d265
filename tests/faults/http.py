"""A small HTTP server that takes events like the service, and fails as a test tells it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

OK = "ok"
DROP_BEFORE = "the line breaks before anything is appended"
DROP_AFTER = "the line breaks after everything is appended"
AWAY = "503"


@dataclass
class EventServer:
    """A log of one partition, that knows duplicates by their ids. `faults` says what each request meets."""

    faults: Iterator[str | int]
    log: list[dict[str, Any]] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)
    requests: list[int] = field(default_factory=list)
    """The number of events of each request that arrived."""
    tokens: list[str] = field(default_factory=list)
    refuse: Callable[[dict[str, Any]], str | None] = lambda event: None
    retry_after: str = "0"
    url: str = ""
    at_once: int = 0
    most_at_once: int = 0

    def append(self, event: dict[str, Any]) -> dict[str, Any]:
        offset = self.offsets.setdefault(event["id"], len(self.log))
        duplicate = offset < len(self.log)
        if not duplicate:
            self.log.append(event)
        return {"id": event["id"], "partition": 0, "offset": offset, "duplicate": duplicate}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(
                    line.decode().lower().split(": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
                )
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    self.tokens.append(headers["authorization"].removeprefix("bearer "))
                    if not await self.answer(body, writer):
                        return
                finally:
                    self.at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, body: list[dict[str, Any]], writer: asyncio.StreamWriter) -> bool:
        self.requests.append(len(body))
        fault = next(self.faults, OK)
        if fault == DROP_BEFORE:
            return False
        if isinstance(fault, int) or fault == AWAY:
            await self.write(writer, int(fault), {"title": "No", "detail": f"answered {fault}", "code": "told_to"})
            return True
        answers: list[dict[str, Any]] = []
        for index, event in enumerate(body):
            if (why := self.refuse(event)) is not None:
                answers.append({"index": index, "error": {"field": "type", "detail": why, "code": "refused"}})
            else:
                answers.append(self.append(event))
        if fault == DROP_AFTER:
            return False
        if all("error" in answer for answer in answers):
            errors = [answer["error"] for answer in answers]
            await self.write(writer, 422, {"title": "No", "detail": "all refused", "code": "refused", "errors": errors})
        else:
            await self.write(writer, 202, answers)
        return True

    async def write(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        retry = f"Retry-After: {self.retry_after}\r\n" if status == 503 else ""
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{retry}\r\n".encode() + data)
        await writer.drain()


@asynccontextmanager
async def taking_events(faults: Iterable[str | int] = ()) -> AsyncIterator[EventServer]:
    """The server, on a port of its own."""
    events = EventServer(iter(faults))
    server = await asyncio.start_server(events.handle, "127.0.0.1", 0, limit=64 * 1024 * 1024)
    events.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield events
    finally:
        server.close()
