"""The commands that a task was given, so that each is applied once however often it comes."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from lastseen.commands import Command

from service.domain.commands import State, fingerprint

REMEMBERED: Final = 10_000
"""Commands of one task, about 2 MB. One that comes again after so many others counts as another."""


@dataclass(slots=True)
class Known:
    """One of them. `state` is None as long as nothing final was said of it."""

    print: bytes
    state: State | None = None
    reason: str | None = None


class AppliedCommands:
    """Remembers the newest ones; of those that something final was said of, the oldest goes first.

    How many are under way at once is bounded by whoever applies them.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[bytes, Known] = {}

    def find(self, command: Command) -> Known | None:
        """What is known of the user's command of that id, whatever it said."""
        return self._known.get(_key(command))

    def is_same(self, known: Known, command: Command) -> bool:
        """Whether `command` says what the one did that is known by its id."""
        return known.print == fingerprint(command.command, command.data)

    def begin(self, command: Command) -> Known:
        """Remember one that has come for the first time."""
        known = Known(fingerprint(command.command, command.data))
        self._known[_key(command)] = known
        if len(self._known) > self._remembered:
            oldest = next((key for key, one in self._known.items() if one.state is not None), None)
            if oldest is not None:
                del self._known[oldest]
        return known


def _key(command: Command) -> bytes:
    return blake2b(f"{command.user_id}\0{command.id}".encode(), digest_size=16).digest()
