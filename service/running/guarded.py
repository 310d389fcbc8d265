"""An adapter that may be wrong: the task goes on without it, and no byte of the output is lost."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from lastseen.chunks import Chunk

from service.running.adapter import Adapter, Published, Said
from service.running.adapters.plain import PlainAdapter

T = TypeVar("T")


class GuardedAdapter:
    """An adapter around another, which may be a deployment's own. Once that raises, the rest is plain.

    It holds what the other holds back, too. `warn` is told once.
    """

    def __init__(self, adapter: Adapter, warn: Callable[[str], None]) -> None:
        self._adapter = adapter
        self._warn = warn
        self._failed = False
        self._held: dict[str, list[Chunk]] = {}
        """Per stream, what was given to the adapter and did not come back yet."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """As the other's."""
        return self._asked(lambda adapter: list(adapter.command(argv)))

    @property
    def needs_input(self) -> bool:
        """As the other's."""
        return self._asked(lambda adapter: adapter.needs_input)

    @property
    def opening(self) -> bytes:
        """As the other's."""
        return self._asked(lambda adapter: adapter.opening)

    @property
    def input_ends(self) -> bool:
        """As the other's."""
        return self._asked(lambda adapter: adapter.input_ends)

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """As the other's."""
        self._held.setdefault(chunk.stream, []).append(chunk)
        if self._failed:
            return self._all_held()
        try:
            published = list(self._adapter.output(chunk))
        except Exception as error:  # noqa: BLE001 - a deployment's own code
            self._replace(error)
            return self._all_held()
        self._take(published)
        return published

    def finish(self, stream: str) -> Sequence[Published]:
        """As the other's."""
        if self._failed:
            return self._all_held()
        try:
            published = list(self._adapter.finish(stream))
        except Exception as error:  # noqa: BLE001 - a deployment's own code
            self._replace(error)
            return self._all_held()
        self._take(published)
        return published

    def input(self, text: str) -> bytes:
        """As the other's."""
        return self._asked(lambda adapter: adapter.input(text))

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """As the other's."""
        return self._asked(lambda adapter: adapter.confirm(confirmation_id, approved))

    @property
    def open_confirmations(self) -> Collection[str]:
        """As the other's."""
        return self._asked(lambda adapter: adapter.open_confirmations)

    def _asked(self, question: Callable[[Adapter], T]) -> T:
        try:
            return question(self._adapter)
        except Exception as error:  # noqa: BLE001 - a deployment's own code
            self._replace(error)
            return question(self._adapter)

    def _replace(self, error: Exception) -> None:
        self._adapter, self._failed = PlainAdapter(), True
        self._warn(f"the task's adapter failed, and its output goes on plain: {error!r}")

    def _take(self, published: Sequence[Published]) -> None:
        for one in published:
            if isinstance(one, Said):
                continue
            chunk, _ = one
            end = chunk.offset + len(chunk.raw)
            held = self._held.get(chunk.stream, [])
            while held and held[0].offset + len(held[0].raw) <= end:
                held.pop(0)
            if held and held[0].offset < end:
                held[0] = _from(held[0], end)

    def _all_held(self) -> list[Published]:
        held = [chunk for chunks in self._held.values() for chunk in chunks]
        self._held.clear()
        return [(chunk, {}) for chunk in held]


def _from(chunk: Chunk, offset: int) -> Chunk:
    return Chunk(chunk.stream, offset, chunk.raw[offset - chunk.offset :])
