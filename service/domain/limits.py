"""What one user, and one address, may have and do at a node. An address of None has no limits of its own."""

from dataclasses import dataclass
from typing import Final

from service.domain.rates import Rates

BURST: Final = 10
"""How much may come at once: as much as otherwise in so many seconds."""
BYTES_EACH: Final = 1024
"""A long message is as much work as several short ones: it counts as one more for each so many bytes."""
TOO_MANY_OF_USER: Final = "Too many connections of this user"
TOO_MANY_FROM_ADDRESS: Final = "Too many connections from this address"
TOO_MANY_FAILURES: Final = "Too many failed attempts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The numbers. Rates are a second, in the long run; at once BURST times as much."""

    connections_per_user: int = 100
    connections_per_address: int = 1000
    messages_per_user: float = 200.0
    messages_per_address: float = 2000.0
    failures_per_address: float = 20.0
    tickets_per_user: float = 10.0


class Guest:
    """One connection, as it counts. Whoever let it enter lets it leave."""

    __slots__ = ("_limits", "address", "user")

    def __init__(self, limits: "Limits", user: str, address: str | None) -> None:
        self._limits = limits
        self.user = user
        self.address = address

    def message(self, now: float, size: int = 0) -> bool:
        """Whether one more message, of so many bytes, may come; if so, it has."""
        return self._limits.message(self.user, self.address, now, 1 + size // BYTES_EACH)

    def leave(self) -> None:
        """It counts no more."""
        self._limits.leave(self)


class Limits:
    """Who is there, and how much of what came from whom."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._of_user: dict[str, set[Guest]] = {}
        self._from_address: dict[str, int] = {}
        self._messages_of_user = _rates(allowed.messages_per_user)
        self._messages_from = _rates(allowed.messages_per_address)
        self._failures_from = _rates(allowed.failures_per_address)
        self._tickets_of_user = _rates(allowed.tickets_per_user)

    def enter(self, user: str, address: str | None) -> Guest | str:
        """A connection more, or the reason why not."""
        guests = self._of_user.get(user, ())
        if len(guests) >= self._allowed.connections_per_user:
            return TOO_MANY_OF_USER
        if address is not None:
            count = self._from_address.get(address, 0)
            if count >= self._allowed.connections_per_address:
                return TOO_MANY_FROM_ADDRESS
            self._from_address[address] = count + 1
        guest = Guest(self, user, address)
        self._of_user.setdefault(user, set()).add(guest)
        return guest

    def leave(self, guest: Guest) -> None:
        """A connection less; a second time does nothing."""
        guests = self._of_user.get(guest.user, set())
        if guest not in guests:
            return
        guests.remove(guest)
        if not guests:
            del self._of_user[guest.user]
        if guest.address is not None:
            self._from_address[guest.address] -= 1
            if not self._from_address[guest.address]:
                del self._from_address[guest.address]

    def message(self, user: str, address: str | None, now: float, count: int = 1) -> bool:
        """Whether so many messages more may come; if so, they have."""
        if address is not None and self._messages_from.wait(address, now, count):
            return False
        if self._messages_of_user.take(user, now, count):
            return False
        if address is not None:
            self._messages_from.take(address, now, count)
        return True

    def ticket(self, user: str, now: float) -> float:
        """Seconds until the user may ask for a ticket; 0 if it may now, and then it has."""
        return self._tickets_of_user.take(user, now)

    def failed(self, address: str | None, now: float) -> None:
        """Somebody there was not who he claimed to be."""
        if address is not None:
            self._failures_from.take(address, now)

    def after_failures(self, address: str | None, now: float) -> float:
        """Seconds until somebody from there may try again; 0 if now."""
        return 0.0 if address is None else self._failures_from.wait(address, now)


def _rates(rate: float) -> Rates:
    return Rates(rate, rate * BURST)
