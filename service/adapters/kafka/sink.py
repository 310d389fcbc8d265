"""Where the events of one task go: into the log, in order, over every interruption."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from lastseen.answers import Place
from lastseen.backoff import Backoff
from lastseen.envelope import Event, NulCharacter
from lastseen.errors import BadRequest, Closed, LastseenError
from lastseen.record import EventTooLarge, NewRecord, encode

from service.cancellation import heed_cancellation
from service.domain.errors import BadRequest as RefusedRecord
from service.domain.errors import Unavailable
from service.ports import EventLog
from service.ports import Place as LogPlace

logger = logging.getLogger(__name__)

MAX_QUEUED: Final = 256
MAX_QUEUED_BYTES: Final = 1024 * 1024
MAX_BATCH_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class _Queued:
    id: str
    record: NewRecord
    place: "asyncio.Future[Place]"

    @property
    def size(self) -> int:
        return len(self.record.value)


class LogSink:
    """The port `EventSink` on a log, for one task. Use it in an `async with`.

    One batch is on its way at a time, and an event keeps its id: nothing overtakes, and what was appended already when
    it is tried again is void for every reader. While the log is away it tries again for ever, with back-off. What waits
    is bounded (256 events and about 1 MiB): when that is full, `submit` waits.

    `admit` is awaited before each append: it waits while it is not certain that the task is still this runner's, and
    raises Closed when it is not.
    """

    def __init__(
        self,
        log: EventLog,
        max_event_bytes: int,
        admit: Callable[[], Awaitable[None]],
        backoff: Backoff | None = None,
    ) -> None:
        self._log = log
        self._max_event_bytes = max_event_bytes
        self._admit = admit
        self._backoff = backoff or Backoff(base=0.1, cap=5.0)
        self._queue: deque[_Queued] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until everything is in the log, unless an exception leaves the block: then the rest is dropped."""
        assert self._worker is not None, "entered"
        try:
            if error is None:
                await self.flush()
        finally:
            self.close()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def submit(self, event: Event) -> "asyncio.Future[Place]":
        """As `EventSink.submit`. Raises BadRequest for an event that the log can't take, Closed."""
        try:
            record = encode(event, self._max_event_bytes)
        except EventTooLarge as error:
            raise BadRequest(str(error), code="too_large", field="data") from error
        except NulCharacter as error:
            raise BadRequest(str(error), code="nul", field=error.field) from error
        while not self._closed and (len(self._queue) >= MAX_QUEUED or self._bytes >= MAX_QUEUED_BYTES):
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise Closed("nothing more is published of this task")
        queued = _Queued(event.id, record, asyncio.get_running_loop().create_future())
        self._queue.append(queued)
        self._bytes += queued.size
        self._idle.clear()
        self._ready.set()
        return queued.place

    async def flush(self) -> None:
        """As `EventSink.flush`; ends early where it is closed."""
        await self._idle.wait()

    def close(self) -> None:
        """Publish nothing more, from this moment on."""
        self._closed = True
        if self._worker is not None:
            self._worker.cancel()
        self._fail_all(Closed("nothing more is published of this task"))

    async def _work(self) -> None:
        try:
            while True:
                heed_cancellation()
                if not self._queue:
                    self._idle.set()
                    self._ready.clear()
                    await self._ready.wait()
                await self._send(self._next_batch())
        except Closed as error:
            self._closed = True
            self._fail_all(error)
        except Exception as error:
            self._closed = True
            self._fail_all(LastseenError(f"the sink failed: {error!r}"))
            logger.exception("the events of a task can't be published")

    def _next_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        size = 0
        while self._queue:
            size += self._queue[0].size
            if batch and size > MAX_BATCH_BYTES:
                break
            queued = self._queue.popleft()
            self._bytes -= queued.size
            batch.append(queued)
        self._room.set()
        return batch

    async def _send(self, batch: Sequence[_Queued]) -> None:
        """Append until it is answered for good. A batch that is refused goes in halves, to tell whose fault it was."""
        try:
            places = await self._append([queued.record for queued in batch])
        except RefusedRecord as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._send(batch[:half])
                await self._send(batch[half:])
            else:
                _fail(batch, BadRequest(str(error), code=error.code, field=error.field))
            return
        except BaseException:
            _fail(batch, Closed("nothing more is published of this task"))
            raise
        for queued, place in zip(batch, places, strict=True):
            if not queued.place.done():
                queued.place.set_result(Place(queued.id, place.partition, place.offset, duplicate=False))

    async def _append(self, records: Sequence[NewRecord]) -> Sequence[LogPlace]:
        while True:
            await self._admit()
            try:
                places = await self._log.append(records)
            except Unavailable as error:
                wait = self._backoff.next()
                logger.warning("publishing again in %.1f s: %s", wait, error)
                await asyncio.sleep(wait)
            else:
                self._backoff.reset()
                return places

    def _fail_all(self, error: LastseenError) -> None:
        _fail(self._queue, error)
        self._queue.clear()
        self._bytes = 0
        self._room.set()
        self._idle.set()


def _fail(queued: Sequence[_Queued] | deque[_Queued], error: LastseenError) -> None:
    for one in queued:
        if not one.place.done():
            one.place.set_exception(error)
            one.place.exception()  # whoever waits for it hears of it; nobody has to
