"""What a session has asked on the present connection and not been answered yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Verb = Literal["subscribe", "unsubscribe"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question."""

    channel: str
    verb: Verb
    with_start: bool = False
    rewind: Mapping[str, object] | None = None
    """The start, where the caller named it: then the position is forgotten."""
    is_void: bool = False
    """The channel was given up since: the answer is of a stream that nobody follows any more."""


@dataclass(slots=True)
class Questions:
    """By `ref`, in the order of sending. A `ref` is never used again."""

    _asked: dict[str, Asked] = field(default_factory=dict)
    _refs: int = 0

    def add(self, asked: Asked) -> str:
        """The `ref` to send it with."""
        self._refs += 1
        ref = f"s{self._refs}"
        self._asked[ref] = asked
        return ref

    def take(self, ref: object) -> Asked | None:
        """The question that this `ref` answers."""
        return self._asked.pop(str(ref), None)

    def take_answered(self, ref: object, verb: Verb, channel: str) -> Asked | None:
        """The question that is answered, also by a server that gives no `ref` back."""
        if ref is None:  # answers come in the order of the questions
            ref = next((r for r, a in self._asked.items() if (a.verb, a.channel) == (verb, channel)), None)
        return self.take(ref)

    def asks_for_start(self, channel: str) -> bool:
        """Whether the channel was asked for from a start."""
        return any(a.with_start and a.channel == channel and not a.is_void for a in self._asked.values())

    def give_up(self, channel: str) -> None:
        """Nobody follows the channel any more that was subscribed."""
        for ref, asked in self._asked.items():
            if asked.channel == channel and asked.verb == "subscribe":
                self._asked[ref] = replace(asked, is_void=True)

    def clear(self) -> None:
        """Nothing of it will be answered any more."""
        self._asked.clear()
