"""What is to be run, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Size(NamedTuple):
    """Of a terminal, in characters."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program with its surroundings. `cwd` and `env` (the whole environment) are our own where they are None.

    - `pty`: it has a terminal of its own of that size, in and out, and its one stream is `pty`; else pipes, and its
      streams are `stdout` and `stderr`. A terminal always takes input.
    - `input`: its stdin is a pipe that stays open; `inherit_stdin`: it is ours; else it is empty.
    - `own_group`: it has a session of its own. All that belongs to that gets the task's signals, and ends with the
      task; it ends with this process, too. Else it is signalled alone, as a shell's program, and outlives us.
    - `timeout_seconds` count from its start, pauses included.
    """

    argv: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str] | None = None
    pty: Size | None = None
    input: bool = False
    inherit_stdin: bool = False
    own_group: bool = True
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.pty is not None and not self.own_group:
            raise ValueError("a program with a terminal of its own needs own_group: a terminal belongs to a session")
        if self.inherit_stdin and (self.pty is not None or self.input):
            raise ValueError("inherit_stdin goes with neither pty nor input: a program has one stdin")
