"""The tail: from Kafka into the window and on to the live subscribers, one order for everybody."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from service.cancellation import heed_cancellation, is_cancelled
from service.domain.duplicates import LookBack
from service.domain.errors import HistoryUnavailable, LogUnavailable, OffsetsGone, Unreadable
from service.domain.frames import message_frame
from service.domain.messages import QUARANTINE, gap
from service.domain.records import RawRecord, Record, Unusable, read_record, stand_in
from service.domain.rights import Change
from service.domain.window import Window
from service.node.enforcing import Affected
from service.node.head import Head
from service.ports import EventLog, HeldRights, History, RightsLoader
from service.settings import Settings

_log = logging.getLogger(__name__)
_STEP_RECORDS: Final = 500
_STEP_BYTES: Final = 256 * 1024
"""What one step of the event loop takes: some milliseconds, and what it may add to each connection's buffer."""
_STEP_DELIVERED_BYTES: Final = 64 * 1024 * 1024
_LEAST_STEP_BYTES: Final = 16 * 1024
"""Where all subscribers of a node get what a step takes: tens of milliseconds; but in no smaller steps than these."""
_RETRY_SECONDS: Final = 5.0
_LOADED_TASKS: Final = 20_000
"""The newest tasks, known before the first client comes; half a second's reading."""
_FOR_ITS_MEMBERS: Final = "project_deleted"
"""The one event that ends rights and still goes to those who had them: nothing else would tell them."""


class LiveDelivery(Protocol):
    """Where a step's records go: pushed one by one, sent together at its end."""

    @property
    def subscribers(self) -> int: ...
    def push(self, record: Record) -> None: ...
    def push_told(self, channels: Sequence[str], frame_of: Callable[[Sequence[str]], bytes]) -> None: ...
    def flush(self) -> None: ...


class RightsReader(Protocol):
    """Who learns of rights from the records as they pass."""

    def note(self, record: Record) -> Change | None: ...
    def contradicts(self, record: Record) -> bool: ...


class Enforcement(Protocol):
    """Who ends what a change of rights ends."""

    def affected(self, change: Change) -> list[Affected]: ...
    def enforce(self, change: Change, affected: list[Affected]) -> None: ...


class TailStart(NamedTuple):
    """Per partition: where to read from, from where on to serve, and what the void rule knows of before.

    Between the two lie records that are read for the void rule alone: their own verdict can't be had.
    """

    read: Mapping[int, int]
    serve: Mapping[int, int]
    look_backs: Mapping[int, LookBack]


class Start(NamedTuple):
    """Where a tail begins, and what is known of rights before it."""

    tail: TailStart
    rights: HeldRights


async def find_start(log: EventLog, history: History, rights: RightsLoader, settings: Settings) -> Start:
    """Where a tail begins.

    It begins where the projection of rights has come to, or before. The look-back comes from Postgres, ids only,
    where the log writer has come as far as that; else its W offsets are read from Kafka. What both have lost is
    waited for: without it a node could judge neither rights nor its first records.
    """
    while True:
        try:
            held = await rights.load(min(settings.remembered_tasks, _LOADED_TASKS))
            return Start(await _find_start(log, history, settings, held.next), held)
        except HistoryUnavailable as error:
            _log.warning("what this node begins with is not to be had yet, waiting: %s", error)
            await asyncio.sleep(error.retry_after)


async def _find_start(log: EventLog, history: History, settings: Settings, rights: Mapping[int, int]) -> TailStart:
    look_back = settings.look_back
    bounds = await log.bounds()
    coverage = await history.coverage()
    read, serve, look_backs = {}, {}, {}
    for p, held in bounds.items():
        learned = rights.get(p, 0)
        if learned < held.first:
            raise HistoryUnavailable(
                f"the projection of rights has come to offset {learned} of partition {p}, and Kafka holds it from "
                f"{held.first} on: consumers.projections has to run",
                retry_after=2.0,
            )
        serve[p] = max(held.first, min(held.next - settings.window_offsets, learned))
        read[p] = max(held.first, serve[p] - look_back)
        look_backs[p] = LookBack(look_back)
        copied = coverage[p].next if p in coverage else 0
        if copied > read[p]:
            read[p] = min(serve[p], copied)
        if p in coverage:
            for entry in await history.look_back(p, read[p] - look_back, read[p]):
                look_backs[p].load(entry)
        if copied >= read[p] or read[p] == held.first:
            serve[p] = read[p]
    return TailStart(read, serve, look_backs)


@dataclass(slots=True)
class Counts:
    """What a tail has done with the records that it has read."""

    delivered: int = 0
    void: int = 0
    unreadable: int = 0


class Tail:
    """Reads every partition and applies what it reads, step by step."""

    def __init__(
        self,
        log: EventLog,
        window: Window,
        start: TailStart,
        head: Head,
        access: RightsReader,
        enforcer: Enforcement,
        fanout: LiveDelivery,
        notes: Sequence[Callable[[Record], None]] = (),
    ) -> None:
        self._log = log
        self._window = window
        self._next = dict(start.read)
        self._look_backs = start.look_backs
        self._head = head
        self._access = access
        self._enforcer = enforcer
        self._fanout = fanout
        self._notes = notes
        self.counts = Counts()

    def first_of(self, partition: int, id_: str) -> int | None:
        """The offset of the record that one with this id, appended now, would be a duplicate of."""
        return self._look_backs[partition].first_of(id_, self._window.next(partition))

    def has_read(self, partition: int, offset: int) -> bool:
        """Whether it has come past this offset."""
        return offset < self._window.next(partition)

    async def run(self) -> None:
        """Read until cancelled; goes on by itself when Kafka comes back.

        Raises OffsetsGone when the log no longer holds what comes next: only a fresh start puts that right.
        """
        retry = 0.1
        while True:
            try:
                async with self._log.tail(self._next) as reader:
                    while True:
                        heed_cancellation()
                        batch = await reader.read()
                        retry = 0.1
                        await self._apply(batch.records, batch.next)
            except OffsetsGone:
                raise
            except (LogUnavailable, asyncio.CancelledError) as error:
                if is_cancelled() and isinstance(error, asyncio.CancelledError):
                    raise
                # A future of the driver's own that was cancelled looks the same; the tail would end without a word.
                _log.warning("the log is away, reading again in %.1f s: %s", retry, error)
                await asyncio.sleep(retry)
                retry = min(retry * 2, _RETRY_SECONDS)

    async def _apply(self, records: Sequence[RawRecord], next_: Mapping[int, int]) -> None:
        at = 0
        each = _STEP_DELIVERED_BYTES // max(1, self._fanout.subscribers)
        for upto in _steps(records, max(_LEAST_STEP_BYTES, min(_STEP_BYTES, each))):
            self.step(records[at:upto], next_ if upto == len(records) else {})
            at = upto
            await asyncio.sleep(0)

    def step(self, records: Sequence[RawRecord], next_: Mapping[int, int]) -> None:
        """Apply some records in one go: whoever looks sees the head before or behind all of them."""
        window, fanout, next_offsets = self._window, self._fanout, self._next
        for raw in records:
            partition = raw.partition
            if raw.offset < next_offsets[partition]:
                continue
            next_offsets[partition] = raw.offset + 1
            try:
                record = read_record(raw)
            except Unreadable as error:
                self.counts.unreadable += 1
                _log.warning("record %d:%d passed over (%s): %s", partition, raw.offset, error.reason, error)
                if raw.offset >= window.next(partition):
                    self._tell_missing(stand_in(raw, error))
                continue
            void = self._look_backs[partition].judge(record)
            if void is not None:
                self.counts.void += 1
            elif raw.offset >= window.next(partition):
                change = self._access.note(record)
                affected = self._enforcer.affected(change) if change is not None else None
                if change is not None and affected:
                    self._change(record, change, affected)
                else:
                    window.append(record)
                    self._push(record)
                for note in self._notes:
                    note(record)
                self.counts.delivered += 1
        for partition, offset in next_.items():
            next_offsets[partition] = max(next_offsets[partition], offset)
        for partition, offset in next_offsets.items():
            window.advance(partition, offset)
        self._head.move()
        fanout.flush()

    def _change(self, record: Record, change: Change, affected: list[Affected]) -> None:
        """Apply a record that ends rights: what came before it is sent to those who had them."""
        if record.type == _FOR_ITS_MEMBERS:
            self._window.append(record)
            self._push(record)
            self._send()
            self._enforcer.enforce(change, affected)
        else:
            self._send()
            self._enforcer.enforce(change, affected)
            self._window.append(record)
            self._push(record)

    def _tell_missing(self, missing: Unusable | None) -> None:
        """Whoever watches one of its channels lacks an event from here on."""
        if missing is None:
            return
        self._window.append(missing)
        # What was pushed so far lies at or below the heads, whatever its partition.
        heads = self._window.heads()

        def frame_of(channels: Sequence[str]) -> bytes:
            before = self._head.token_of({**heads, missing.partition: missing.offset - 1})
            return message_frame(gap(channels, before, self._head.token_of(heads), QUARANTINE))

        self._fanout.push_told(self._for_readers(missing).channels, frame_of)
        for note in self._notes:
            note(missing)

    def _push(self, record: Record) -> None:
        self._fanout.push(self._for_readers(record))

    def _for_readers(self, record: Record) -> Record:
        if record.task is not None and self._access.contradicts(record):
            return replace(record, channels=tuple(name for name in record.channels if not name.startswith("task:")))
        return record

    def _send(self) -> None:
        self._head.move()
        self._fanout.flush()


def _steps(records: Sequence[RawRecord], max_bytes: int = _STEP_BYTES) -> Iterator[int]:
    """Where each step of a batch ends; a batch without records is one step too."""
    begin = size = 0
    for at, raw in enumerate(records):
        size += len(raw.value or b"")
        if at + 1 - begin == _STEP_RECORDS or size >= max_bytes:
            yield at + 1
            begin, size = at + 1, 0
    if begin < len(records) or not records:
        yield len(records)
