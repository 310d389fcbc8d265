"""The newest commands of all tasks, as far as they have been read here."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from lastseen.commands import CommandName

from service.ports import CommandBatch, Place, PlacedCommand

MOST_BYTES: Final = 4 * 1024 * 1024
MARK_SECONDS: Final = 5.0


class HeldCommand(NamedTuple):
    """A command as JSON, and where it stands."""

    place: Place
    task: str
    payload: bytes
    deadline_ms: int


class CommandWindow:
    """Fed by one reader of the topic (`CommandTaker`), looked into by all streams; bounded by bytes.

    From `first` to `next`, per partition, it holds all commands but starts, which are nobody's who runs a task
    already. `topic` is None until the reading has begun; `times_begun` counts that, and each time that it has lost
    its place. `came` is told of each command that comes in, before `next` has passed it; `began` that the reading
    has begun, or begun anew. `lately` are the offsets to which it had come at least `reach_seconds` ago, or began.
    """

    def __init__(
        self,
        reach_seconds: float,
        came: Callable[[str, Place], None],
        began: Callable[[], None],
        *,
        most_bytes: int = MOST_BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reach_seconds = reach_seconds
        self._now = now
        self._came = came
        self._began = began
        self._most_bytes = most_bytes
        self.topic: str | None = None
        self.times_begun = 0
        self.first: dict[int, int] = {}
        self.next: dict[int, int] = {}
        self._marks: deque[tuple[float, Mapping[int, int]]] = deque()
        """When it had come where; the first is as old as it has to be, or where it began."""
        self._held: deque[HeldCommand] = deque()
        self._by_task: dict[str, deque[HeldCommand]] = {}
        self._bytes = 0

    @property
    def lately(self) -> Mapping[int, int]:
        return self._marks[0][1] if self._marks else {}

    def begin(self, topic: str, start: Mapping[int, int]) -> None:
        if (topic, start) != (self.topic, self.next):
            self._held.clear()
            self._by_task.clear()
            self._bytes = 0
            self.times_begun += 1
            self._marks.clear()
            self._marks.append((self._now(), dict(start)))
            self.topic, self.first, self.next = topic, dict(start), dict(start)
        self._began()

    def take(self, batch: CommandBatch) -> None:
        for placed in batch.commands:
            if (held := held_command(placed)) is not None:
                self._held.append(held)
                self._by_task.setdefault(held.task, deque()).append(held)
                self._bytes += len(held.payload)
                self._came(held.task, held.place)
        self.next |= batch.next
        while self._bytes > self._most_bytes:
            self._drop_oldest()
        self._mark()

    def behind(self, task: str, cursor: Mapping[int, int]) -> Iterator[HeldCommand]:
        """What it holds of a task behind the offsets of `cursor`, in order."""
        newest_first = []
        for held in reversed(self._by_task.get(task, ())):
            if held.place.offset <= cursor.get(held.place.partition, -1):
                break
            newest_first.append(held)
        return reversed(newest_first)

    def _mark(self) -> None:
        now = self._now()
        if now >= self._marks[-1][0] + MARK_SECONDS:
            self._marks.append((now, dict(self.next)))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._reach_seconds:
            self._marks.popleft()

    def _drop_oldest(self) -> None:
        oldest = self._held.popleft()
        own = self._by_task[oldest.task]
        own.popleft()
        if not own:
            del self._by_task[oldest.task]
        self._bytes -= len(oldest.payload)
        self.first[oldest.place.partition] = oldest.place.offset + 1


def held_command(placed: PlacedCommand) -> HeldCommand | None:
    """As a window holds it; None for a start."""
    place, command = placed
    if command.command is CommandName.START:
        return None
    return HeldCommand(
        place, command.task_id, command.model_dump_json().encode(), int(command.deadline.timestamp() * 1000)
    )
