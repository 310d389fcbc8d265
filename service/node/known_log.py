"""What a node knows of the log: how far it has read, and the records in its window."""

from collections.abc import Mapping, Sequence

from service.domain.loss import Entry
from service.domain.window import Window


class NodeKnownLog:
    """What this node has read and may have delivered, as the loss detector's `KnownLog`."""

    def __init__(self, window: Window) -> None:
        self._window = window

    async def next_offsets(self) -> Mapping[int, int]:
        return {partition: head + 1 for partition, head in self._window.heads().items()}

    async def entries(self, partition: int, start: int, stop: int) -> Sequence[Entry]:
        held = self._window.between(partition, start, stop)
        return [Entry(record.offset, record.id, record.appended_at) for record in held]
