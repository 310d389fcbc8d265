"""What a start looks like at the terminal."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn


class Shown:
    """What happens, on stderr: lines, and a bar while something is fetched."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("fetching Kafka"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=self._console
        )
        self._fetching: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._fetching is not None:
            self._bar.stop()

    def tell(self, line: str) -> None:
        """Prints one line."""
        self._console.print(line, markup=False, soft_wrap=True)

    def fetched(self, had: int, total: int) -> None:
        """Shows that `had` of `total` bytes are there."""
        if self._fetching is None:
            self._fetching = self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(self._fetching, completed=had)
        if had == total:
            self._bar.stop()
