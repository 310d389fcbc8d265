"""Which ping a `pong` answers: they carry nothing, so their order has to tell."""

from typing import Final

_REMEMBERED: Final = 4


class UnansweredPings:
    """The positions that the pings of one connection said, until they are answered.

    Answers come in the order of the pings. Beyond a few, pings are only counted, and their answers mean nothing:
    so an answer never stands for a later ping than it belongs to.
    """

    __slots__ = ("_further", "_tokens")

    def __init__(self) -> None:
        self._tokens: list[str] = []
        self._further = 0

    def sent(self, token: str) -> None:
        """A ping was sent; `token` is empty where its answer is to mean nothing."""
        if len(self._tokens) < _REMEMBERED and not self._further:
            self._tokens.append(token)
        else:
            self._further += 1

    def answered(self) -> str:
        """The token of the ping that an answer belongs to, or an empty text."""
        if self._tokens:
            return self._tokens.pop(0)
        self._further = max(self._further - 1, 0)
        return ""
