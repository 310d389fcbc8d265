"""The past in the order of the log: what Postgres, Kafka and the window hold between two positions."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Final

from service.domain.messages import QUARANTINE
from service.domain.records import Unusable
from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.past import Wanted, clipped
from service.node.replay import Lost, Page, Replay

_WINDOW_RECORDS: Final = 500
_WINDOW_BYTES: Final = 1024 * 1024


async def ascending(
    window: Window, replay: Replay, wanted: Wanted, cursor: Mapping[int, int], upto: Mapping[int, int]
) -> AsyncGenerator[Page | Lost, None]:
    """The records that are wanted in `(cursor, upto]`, partition by partition in ascending order.

    `upto` is at most the window's head. What was taken is behind the reader: `served` of the pages and `earliest`
    of what is lost, joined, reach `upto` in the end. Raises HistoryUnavailable, LogUnavailable.
    """
    behind = {p: offset for p, offset in cursor.items() if offset < upto[p]}
    group = CatchUp(behind, asked=True, channels=dict.fromkeys(wanted.channels, behind))
    while group.cursor:
        async with aclosing(replay.pages(group, wanted.types, who=wanted.who)) as pages:
            async for page in pages:
                for part in _parted(_within(page, wanted, upto, group.cursor)):
                    yield part
                    _move(group.cursor, part)
                # Whoever is done must not be read on; a page that is under way may be of such a partition.
                if _drop_done(group.cursor, upto):
                    break
        for partition in list(group.cursor):
            while (after := group.cursor[partition]) + 1 >= window.first(partition) and after < upto[partition]:
                found = window.read(wanted.channels, partition, after, _WINDOW_RECORDS, _WINDOW_BYTES)
                for part in _parted(
                    _within(Page(found.records, {partition: found.served}), wanted, upto, group.cursor)
                ):
                    yield part
                    _move(group.cursor, part)
                await asyncio.sleep(0)
        _drop_done(group.cursor, upto)


def _within(page: Page | Lost, wanted: Wanted, upto: Mapping[int, int], open_: Mapping[int, int]) -> Page | Lost:
    if isinstance(page, Lost):
        return Lost(clipped(page.earliest, upto, open_.keys()), page.reason)
    records = [record for record in page.records if record.offset <= upto[record.partition] and wanted.matches(record)]
    return Page(records, clipped(page.served, upto, open_.keys()))


def _parted(page: Page | Lost) -> Iterator[Page | Lost]:
    """The same in parts, without records that can't be used: what they were is lost."""
    if isinstance(page, Lost) or not any(isinstance(record, Unusable) for record in page.records):
        yield page
        return
    done = 0
    for at, record in enumerate(page.records):
        if isinstance(record, Unusable):
            before = page.records[done:at]
            yield Page(before, {**{r.partition: r.offset for r in before}, record.partition: record.offset - 1})
            yield Lost({record.partition: record.offset}, QUARANTINE)
            done = at + 1
    yield Page(page.records[done:], page.served)


def _move(cursor: dict[int, int], part: Page | Lost) -> None:
    for partition, offset in (part.earliest if isinstance(part, Lost) else part.served).items():
        cursor[partition] = max(cursor[partition], offset)


def _drop_done(cursor: dict[int, int], upto: Mapping[int, int]) -> bool:
    done = [partition for partition, offset in cursor.items() if offset >= upto[partition]]
    for partition in done:
        del cursor[partition]
    return bool(done)
