"""The adapter for any program: its output as it is, its input as it comes."""

from collections.abc import Collection, Sequence

from lastseen.chunks import Chunk

from service.running.adapter import Published


class PlainAdapter:
    """Sees nothing in the output."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """As it is."""
        return argv

    @property
    def needs_input(self) -> bool:
        """As the start says."""
        return False

    @property
    def opening(self) -> bytes:
        """Nothing."""
        return b""

    @property
    def input_ends(self) -> bool:
        """Never by itself."""
        return False

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """The chunk."""
        return ((chunk, {}),)

    def finish(self, stream: str) -> Sequence[Published]:
        """Nothing is held back."""
        return ()

    def input(self, text: str) -> bytes:
        """The text, without a line's end of its own."""
        return text.encode()

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """It asks no questions."""
        return None

    @property
    def open_confirmations(self) -> Collection[str]:
        """None, ever."""
        return ()
