"""The in-memory twin of `Tickets`."""

import secrets
from datetime import UTC, datetime

from service.domain.errors import Denied, TooMany
from service.domain.identity import Identity
from service.ports import Clock, Ticket


class MemoryTickets:
    """Each good for `seconds`, no longer than its token, `most` unspent ones a user. `word` is what they are called."""

    def __init__(self, clock: Clock, *, seconds: float, most: int, word: str = "ticket") -> None:
        self._clock = clock
        self._word = word
        self._ms = int(seconds * 1000)
        self._most = most
        self._unspent: dict[str, tuple[Identity, int]] = {}

    async def issue(self, identity: Identity) -> Ticket:
        now_ms = self._clock.now_ms()
        self._unspent = {text: held for text, held in self._unspent.items() if held[1] > now_ms}
        ends = [end for owner, end in self._unspent.values() if owner.user_id == identity.user_id]
        if len(ends) >= self._most:
            raise TooMany(
                f"{self._most} {self._word}s of {identity.user_id} are neither spent nor expired: spend one, or wait",
                retry_after=max((min(ends) - now_ms) / 1000, 1.0),
            )
        text, end = secrets.token_urlsafe(), min(now_ms + self._ms, int(identity.expires_at * 1000))
        self._unspent[text] = (identity, end)
        return Ticket(text, datetime.fromtimestamp(end / 1000, UTC))

    async def spend(self, text: str) -> Identity:
        held = self._unspent.pop(text, None)
        if held is None:
            raise Denied(f"there is no such {self._word}, or it has been spent")
        identity, end = held
        if end <= self._clock.now_ms():
            raise Denied(f"the {self._word} has expired")
        return identity
