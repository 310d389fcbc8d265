"""What a task's output goes through on its way to becoming events, and its input on the way to the program."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from lastseen.chunks import Chunk
from pydantic import JsonValue

CONFIRMATION_REQUIRED = "task_confirmation_required"


class Said(NamedTuple):
    """An event of the task that was seen in its output, and is published behind it.

    A `task_confirmation_required` has `confirmation_id` in its data; the question is open as long as that id is among
    the adapter's `open_confirmations`.
    """

    type: str
    data: dict[str, JsonValue]


Published: TypeAlias = tuple[Chunk, Mapping[str, JsonValue]] | Said
"""A chunk with the further fields of its `task_output` (`kind`, say), or an event seen in it."""


class Adapter(Protocol):
    """Knows one kind of program. One object serves one task; nothing here waits."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """What to run; it may add the flags that it needs."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether stdin is to be a pipe that stays open, whatever the start said."""
        ...

    @property
    def opening(self) -> bytes:
        """What is written to the program first, before any `task_input`; asked once, after `command`."""
        ...

    @property
    def input_ends(self) -> bool:
        """Whether nothing more is to be written: stdin is closed then. Asked after output."""
        ...

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """What to publish of the next chunk of a stream. Every byte comes out once, in order, sooner or later."""
        ...

    def finish(self, stream: str) -> Sequence[Published]:
        """The stream has ended: what was held back."""
        ...

    def input(self, text: str) -> bytes:
        """What to write to the program for a `task_input`."""
        ...

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """What to write for the answer to a question, which is open no longer; None: no such question is open."""
        ...

    @property
    def open_confirmations(self) -> Collection[str]:
        """The questions that wait for an answer."""
        ...


class StreamRedactor(Protocol):
    """Masks what must not be seen in one stream; it changes no length, so offsets stay the program's own."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; those that can be said. It may hold back the end of a line, and no more than a bounded part."""
        ...

    def flush(self) -> bytes:
        """What was held back: nothing more comes, for a while or at all."""
        ...


class ScreenState(Protocol):
    """The screen of a terminal as of an offset of its stream."""

    def to_data(self) -> dict[str, JsonValue]:
        """The `data` of a `task_screen`."""
        ...


class ScreenKeeper(Protocol):
    """Follows the screen of one terminal."""

    def feed(self, data: bytes, offset: int) -> None:
        """The next bytes of the stream, the first of them at `offset`: they have been published."""
        ...

    def due(self) -> ScreenState | None:
        """A snapshot, where one is to be published behind what was fed; asked after each feed."""
        ...


RedactorMaker: TypeAlias = Callable[[], StreamRedactor]
"""Makes one for each stream of a task."""

ScreenMaker: TypeAlias = Callable[[int, int], ScreenKeeper]
"""Makes one of so many columns and rows."""
