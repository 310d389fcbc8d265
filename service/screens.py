"""The port `Screens`, by what a runner follows terminals with."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lastseen.chunks import Chunk
from pydantic import JsonValue

_AT_ONCE: Final = 2
"""Screens that are drawn at the same time: each takes a core for some milliseconds, and the event loop needs one."""


class TerminalScreens:
    """Draws screens beside the event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def after(
        self, columns: int, rows: int, snapshot: Mapping[str, Any] | None, chunks: Sequence[Chunk]
    ) -> Mapping[str, JsonValue] | None:
        async with self._turns:
            return await asyncio.to_thread(_drawn, columns, rows, snapshot, chunks)


def _drawn(
    columns: int, rows: int, snapshot: Mapping[str, Any] | None, chunks: Sequence[Chunk]
) -> dict[str, JsonValue] | None:
    # Not above: only who looks at a terminal waits for the import.
    from service.running.screen import Screen, read_snapshot, screen_after

    try:
        begun = read_snapshot(dict(snapshot)) if snapshot is not None else Screen(columns, rows).snapshot()
        return None if begun is None else screen_after(begun, chunks).to_data()
    except ValueError:
        return None
    except BaseException as error:
        # The terminal is native code; what it raises where it gives up is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return None
