"""What a terminal shows."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lastseen.chunks import Chunk
from pydantic import JsonValue


class Screens(Protocol):
    """What follows the screens of terminals."""

    async def after(
        self, columns: int, rows: int, snapshot: Mapping[str, Any] | None, chunks: Sequence[Chunk]
    ) -> Mapping[str, JsonValue] | None:
        """The screen, as the `data` of a `task_screen`, once the program of a terminal has written these chunks.

        They go on in order behind `snapshot` (the `data` of a `task_screen`), or from the beginning on a terminal of
        `columns` by `rows`. None where it can't be told: bytes are missing, say.
        """
        ...
