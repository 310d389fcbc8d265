"""The loss detector: notices that Kafka has lost what was read of it, and starts a new epoch.

It looks at where Kafka ends, and, where a partition's leader may have changed since the last look, whether the records
that were read last are still there: what was lost may be written over before anybody looks. What counts as a loss
`domain.loss` says.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NoReturn, Protocol

from service.cancellation import heed_cancellation
from service.domain.epochs import LostRange, described
from service.domain.errors import EpochEnded, LogUnavailable, OffsetsGone, Unavailable
from service.domain.loss import Entry, Look, Suspicion, first_difference, suspect
from service.domain.records import RawRecord
from service.ports import Bounds, Epoch, EventLog

_log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 1.0
"""Between two looks."""
_REACH: Final = 100
"""Offsets before what was found in order last that are compared as well."""
_FURTHER: Final = 10_000
"""The same, where something seems to be lost: an end says only where it is by now."""


class KnownLog(Protocol):
    """What was read of the log in this epoch. Its calls may raise Unavailable."""

    async def next_offsets(self) -> Mapping[int, int]:
        """The offset to be read next of each partition."""
        ...

    async def entries(self, partition: int, start: int, stop: int) -> Sequence[Entry]:
        """Records that were read in `[start, stop)`, ascending; not all of them have to be known."""
        ...


class Starting(Protocol):
    """Where epochs are started."""

    async def check(self, epoch: Epoch) -> None:
        """Raises EpochEnded where `epoch` is not the present one any more; HistoryUnavailable."""
        ...

    async def start_after_loss(self, epoch: Epoch, lost: Sequence[LostRange]) -> Epoch | None:
        """Start the epoch after `epoch`; None where that is not the present one any more. HistoryUnavailable."""
        ...


Leaders = Callable[[], Awaitable[Mapping[int, object]]]
"""Something of each partition that changes with its leader. Raises OffsetsGone where the topic is another by now."""


class LossDetector:
    """Judges the epoch at hand by what `known` tells. `seconds`: for how long a loss has to be seen."""

    def __init__(
        self,
        log: EventLog,
        leaders: Leaders,
        known: KnownLog,
        epochs: Starting,
        epoch: Epoch,
        seconds: float,
        pause: float = LOOK_SECONDS,
    ) -> None:
        self._log = log
        self._leaders = leaders
        self._known = known
        self._epochs = epochs
        self._epoch = epoch
        self._seconds = seconds
        self._pause = pause
        self._suspicion: Suspicion | None = None
        self._led: Mapping[int, object] = {}
        """Each partition's leader when what was read of it was last found in order; none: that is to be seen yet."""
        self._in_order: dict[int, int] = {}
        """Up to where that was, exclusive."""
        self._had_answers = True
        """Whether the last look could be had."""

    async def run(self) -> NoReturn:
        """Look for ever. Raises EpochEnded once another epoch is the present one; OffsetsGone for another topic."""
        while True:
            heed_cancellation()
            try:
                await self._epochs.check(self._epoch)
                await self._look_and_act()
            except OffsetsGone:
                raise
            except Unavailable as error:
                self._forget(error)
            await asyncio.sleep(self._pause)

    async def settle(self) -> None:
        """Look until all that was read is found in order, or a new epoch was started: then it raises EpochEnded.

        It waits for whoever is away; raises OffsetsGone for another topic.
        """
        while True:
            heed_cancellation()
            try:
                await self._epochs.check(self._epoch)
                await self._look_and_act()
                if self._suspicion is None:
                    return
            except OffsetsGone:
                raise
            except Unavailable as error:
                self._forget(error)
            await asyncio.sleep(self._pause)

    def _forget(self, error: Unavailable) -> None:
        """A question had no answer: what is suspected has to be seen anew, and leaders may have changed unseen."""
        if self._had_answers:
            _log.info("can't tell whether records are lost, asking again: %s", error)
        self._suspicion, self._led, self._had_answers = None, {}, False

    async def _look_and_act(self) -> None:
        before, self._suspicion = self._suspicion, await self._look()
        self._had_answers = True
        suspicion = self._suspicion
        if suspicion is None:
            if before is not None:
                _log.warning("nothing is lost after all: Kafka holds what it seemed to lack")
        elif before is None:
            _log.warning("Kafka seems to have lost records, looking again: %s", described(suspicion.ranges))
        elif suspicion.is_confirmed(self._seconds):
            await self._start(suspicion.ranges)

    async def _start(self, lost: Sequence[LostRange]) -> NoReturn:
        begun = await self._epochs.start_after_loss(self._epoch, lost)
        if begun is None:
            raise EpochEnded(f"the epoch {self._epoch.name} has ended while a loss was looked into")
        said = (
            f"Kafka has lost records that were read and acknowledged: {described(lost)}. Epoch {begun.name} (number "
            f"{begun.number}) begins; every position of {self._epoch.name} is answered with a gap"
        )
        _log.error("%s", said)
        raise EpochEnded(said)

    async def _look(self) -> Suspicion | None:
        leaders = await self._leaders()
        # Before the ends, or what is read meanwhile would lie beyond them.
        known = await self._known.next_offsets()
        bounds = await self._log.bounds()
        differs = {}
        for partition, next_ in known.items():
            held = bounds[partition]
            is_suspect = held.next < next_ or (self._suspicion is not None and partition in self._suspicion.cuts)
            if not is_suspect and self._led.get(partition) == leaders[partition]:
                continue
            reach = _FURTHER if is_suspect else _REACH
            first = await self._difference(partition, min(self._in_order.get(partition, next_), next_), held, reach)
            if first is not None:
                differs[partition] = first
        look = Look(asyncio.get_running_loop().time(), known, {p: held.next for p, held in bounds.items()}, differs)
        found = suspect(self._suspicion, look)
        if found is None:
            self._led, self._in_order = leaders, dict(known)
        return found

    async def _difference(self, partition: int, in_order: int, held: Bounds, reach: int) -> int | None:
        """The first offset of those from `reach` before `in_order` on at which Kafka holds something else."""
        start = max(held.first, min(in_order, held.next) - reach)
        entries = await self._known.entries(partition, start, held.next)
        if not entries:
            return None
        found: list[RawRecord] = []
        stop = entries[-1].offset + 1
        try:
            async with aclosing(self._log.read(partition, entries[0].offset, stop)) as batches:
                async for batch in batches:
                    found += batch.records
        except OffsetsGone as error:
            # The end has gone back, or retention has come by, since it was asked for its bounds.
            raise LogUnavailable(f"partition {partition} changed while it was looked at: {error}") from error
        return first_difference(entries, found)
