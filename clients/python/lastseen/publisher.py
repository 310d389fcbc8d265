"""Publishing over HTTP: in order, each event once, over every interruption."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
from pydantic_core import from_json, to_json

from lastseen.answers import Place, Retry, judge, places_of
from lastseen.backoff import Backoff
from lastseen.connection import is_loopback, websocket_url
from lastseen.envelope import Event, new_event_id
from lastseen.errors import AuthenticationFailed, BadRequest, Closed, LastseenError
from lastseen.linger import checked_linger

MAX_BATCH: Final = 1_000
MAX_BATCH_BYTES: Final = 1024 * 1024
MAX_QUEUED: Final = 2_000
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class _Queued:
    id: str
    json: bytes
    place: "asyncio.Future[Place]"


class Publisher:
    """Publishes events to the service at `url`, in the order of the calls.

    Ids are made before the first attempt and kept, and one request is on its way at a time, so that a retry
    is recognised and nothing overtakes. While the service is away it tries again for ever, with back-off;
    `on_retry(reason, delay)` tells. What is published while a request is on its way goes together in the next;
    `linger`, in seconds, has each request wait for more besides. What is waiting is bounded (2,000 events and about
    4 MiB): when that is full, `submit` and `publish` wait.

        async with Publisher(url, token) as publisher:
            place = await publisher.publish({"type": "user_action", "user_id": "u1", "data": {}})
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], Awaitable[str]],
        *,
        linger: float = 0.0,
        backoff: Backoff | None = None,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> None:
        websocket_url(url, {})  # an address that can't work is told at once
        self._url = url.rstrip("/") + "/api/v1/events"
        self._token = token
        self._linger = checked_linger(linger)
        self._backoff = backoff or Backoff(base=0.1, cap=5.0)
        self._on_retry = on_retry
        self._queue: deque[_Queued] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._full = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=not is_loopback(url))
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until everything is published, unless an exception leaves the block: then the rest is dropped."""
        assert self._worker is not None
        self._closed = True
        try:
            if error is None:
                await self.flush()
        finally:
            self._worker.cancel()
            results = await asyncio.gather(self._worker, return_exceptions=True)
            self._fail_all(Closed("the publisher was closed before the event was published"))
            await self._http.aclose()
        if isinstance(results[0], Exception) and error is None:
            raise results[0]

    async def publish(self, event: Event | Mapping[str, Any]) -> Place:
        """Publish one event and wait for its place in the log.

        Raises BadRequest when the event is refused, AccessDenied, AuthenticationFailed.
        """
        return await (await self.submit(event))

    async def submit(self, event: Event | Mapping[str, Any]) -> "asyncio.Future[Place]":
        """Take an event on, waiting while too much is queued; the future is its place, as from `publish`."""
        id_, json = encode(event)
        return await self.submit_json(id_, json)

    async def submit_json(self, id_: str, json: bytes) -> "asyncio.Future[Place]":
        """As `submit`, for an event that is JSON already and has the id `id_` in it."""
        while not self._closed and (len(self._queue) >= MAX_QUEUED or self._bytes >= MAX_QUEUED_BYTES):
            self._room.clear()
            await self._room.wait()
        if self._closed or self._worker is None:
            raise Closed("the publisher is not open: use it inside `async with`")
        place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(id_, json, place))
        self._bytes += len(json)
        self._idle.clear()
        self._ready.set()
        if len(self._queue) >= MAX_BATCH or self._bytes >= MAX_BATCH_BYTES:
            self._full.set()
        return place

    async def flush(self) -> None:
        """Wait until everything taken on so far is answered."""
        await self._idle.wait()

    async def _work(self) -> None:
        try:
            while True:
                if not self._queue:
                    self._idle.set()
                    self._ready.clear()
                    await self._ready.wait()
                if self._linger and not self._full.is_set():
                    try:
                        async with asyncio.timeout(self._linger):
                            await self._full.wait()
                    except TimeoutError:
                        pass
                await self._send(self._next_batch())
        except Exception as error:
            self._closed = True
            self._fail_all(LastseenError(f"the publisher failed: {error!r}"))
            raise

    def _next_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        size = 0
        while self._queue and len(batch) < MAX_BATCH:
            size += len(self._queue[0].json)
            if batch and size > MAX_BATCH_BYTES:
                break
            queued = self._queue.popleft()
            self._bytes -= len(queued.json)
            batch.append(queued)
        self._full.clear()
        self._room.set()
        return batch

    async def _send(self, batch: list[_Queued]) -> None:
        """Send until it is answered for good. A batch refused as a whole goes in halves, to tell whose fault it was."""
        try:
            answer = await self._post([queued.json for queued in batch])
            if len(answer) != len(batch):
                raise LastseenError(f"the service answered {len(answer)} of {len(batch)} events")
        except BadRequest as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._send(batch[:half])
                await self._send(batch[half:])
                return
            answer = [error] * len(batch)
        except LastseenError as error:
            answer = [error] * len(batch)
        except asyncio.CancelledError:
            for queued in batch:
                _settle(queued, Closed("the publisher was closed before the service answered"))
            raise
        for queued, result in zip(batch, answer, strict=True):
            _settle(queued, result)

    async def _post(self, events: list[bytes]) -> list[Place | LastseenError]:
        body = b"[" + b",".join(events) + b"]"
        renewed = False
        while True:
            try:
                token = self._token if isinstance(self._token, str) else await self._token()
                response = await self._http.post(
                    self._url,
                    content=body,
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                )
                verdict = judge(response)
            except httpx.TransportError as error:
                verdict = Retry(f"{type(error).__name__}: {error}".rstrip(": "), None)
            if verdict is None:
                self._backoff.reset()
                return places_of(response.content)
            if isinstance(verdict, AuthenticationFailed) and callable(self._token) and not renewed:
                renewed = True
                continue
            if isinstance(verdict, LastseenError):
                raise verdict
            delay = max(self._backoff.next(), verdict.after or 0.0)
            if self._on_retry is not None:
                self._on_retry(verdict.reason, delay)
            await asyncio.sleep(delay)

    def _fail_all(self, error: LastseenError) -> None:
        while self._queue:
            _settle(self._queue.popleft(), error)
        self._bytes = 0
        self._room.set()
        self._idle.set()


def encode(event: Event | Mapping[str, Any]) -> tuple[str, bytes]:
    """The id and the JSON with which an event is published; an id is made where it has none.

    Raises BadRequest when it can't be written as JSON.
    """
    if isinstance(event, Event):
        return event.id, event.model_dump_json(exclude_none=True).encode()
    id_ = event.get("id")
    if id_ is None:
        id_ = new_event_id()
        event = {**event, "id": id_}
    try:
        return str(id_), to_json(event)
    except ValueError as error:
        raise BadRequest(f"the event can't be written as JSON: {error}") from error


def decode(json: bytes) -> tuple[str, bytes]:
    """As `encode`, for a JSON text. Raises BadRequest when it is no JSON object."""
    try:
        event = from_json(json, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"no JSON: {error}") from error
    if not isinstance(event, dict):
        raise BadRequest("no JSON object: an event is {…}")
    return encode(event)


def _settle(queued: _Queued, result: Place | LastseenError) -> None:
    if queued.place.done():
        return  # whoever waited for it has gone
    if isinstance(result, Place):
        queued.place.set_result(result)
    else:
        queued.place.set_exception(result)
