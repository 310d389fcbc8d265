"""The screen of a task's terminal: the newest that was told, and what the program has written since."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from lastseen.chunks import Chunk, read_chunk

from service.domain.records import Record
from service.domain.rights import fields_of, ids_of
from service.domain.tasks import Task
from service.node.event_history import EventHistory
from service.node.past import Wanted
from service.ports import Screens

STREAM: Final = "pty"
_SIZE: Final = (80, 24)
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_CHUNKS: Final = 50_000
"""Of output behind the newest screen: a runner tells the next one long before."""

Offsets = Mapping[int, int]


class TaskScreens:
    """Finds screens in the history. Every call raises Unavailable where it can't be told now."""

    def __init__(self, history: EventHistory, screens: Screens) -> None:
        self._history = history
        self._screens = screens

    async def of(
        self, task: Task, contradicts: Callable[[Record], bool], top: Offsets, bottom: Offsets
    ) -> Mapping[str, Any] | None:
        """The screen of a task that was started, as of the offsets `top`; `bottom`: of its start, or below.

        None where it has no terminal, and where nobody can tell: what is needed was dropped, or there is too much.
        """
        found = _Search(self._history, task, contradicts, top, bottom)
        start = await found.start()
        if start is not None and not start.get("pty"):
            return None
        screen = await found.newest_screen()
        if screen is None and start is None:
            return None  # nobody knows whether it has one
        chunks = await found.output_from(0 if screen is None else screen.get("offset"))
        return None if chunks is None else await self._screens.after(*_size_of(start), screen, chunks)


class _Search:
    """What one task has in a part of the log, the newest first."""

    def __init__(
        self,
        history: EventHistory,
        task: Task,
        contradicts: Callable[[Record], bool],
        top: Offsets,
        bottom: Offsets,
    ) -> None:
        self._history = history
        self._task = task
        self._contradicts = contradicts
        self._top = top
        self._bottom = bottom

    async def start(self) -> Mapping[str, Any] | None:
        """What its `task_started` says, or None where that was dropped."""
        first = self._task.fixed_by
        upto = {partition: first.offset for partition in self._top if partition == first.partition}
        async with aclosing(self._records("task_started", upto, upto)) as records:
            async for record in records:
                return fields_of(record)[1]
        return None

    async def newest_screen(self) -> Mapping[str, Any] | None:
        """The newest that was told."""
        async with aclosing(self._records("task_screen", self._top, self._bottom)) as records:
            async for record in records:
                return fields_of(record)[1]
        return None

    async def output_from(self, offset: object) -> list[Chunk] | None:
        """What it has written to its terminal from an offset of the stream on, in order; None where that is too much.

        A screen may be of an offset within the piece that was published before it.
        """
        if not isinstance(offset, int):
            return None
        chunks: list[Chunk] = []
        left = _MOST_BYTES
        async with aclosing(self._records("task_output", self._top, self._bottom)) as records:
            async for record in records:
                try:
                    chunk = read_chunk(fields_of(record)[1])
                except ValueError:
                    continue
                if chunk.stream != STREAM:
                    continue
                if chunk.offset + len(chunk.raw) <= offset:
                    break
                chunks.append(chunk)
                left -= len(chunk.raw)
                if left < 0 or len(chunks) > _MOST_CHUNKS:
                    return None
        chunks.reverse()
        return chunks

    async def _records(self, type_: str, top: Offsets, bottom: Offsets) -> AsyncGenerator[Record, None]:
        wanted = Wanted((f"task:{self._task.id}",), frozenset({type_}), self._contradicts)
        async with aclosing(self._history.descend(wanted, top, bottom)) as records:
            async for record in records:
                if ids_of(record.channels)[1] == self._task.project:
                    yield record


def _size_of(start: Mapping[str, Any] | None) -> tuple[int, int]:
    """Columns and rows of its terminal."""
    columns, rows = ((start or {}).get(name) for name in ("columns", "rows"))
    if type(columns) is int and type(rows) is int:
        return columns, rows
    return _SIZE
