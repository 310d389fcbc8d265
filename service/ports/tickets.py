"""Tickets, each good once."""

from datetime import datetime
from typing import NamedTuple, Protocol

from service.domain.identity import Identity


class Ticket(NamedTuple):
    """What stands for an access token once, for a short time."""

    text: str
    expires_at: datetime


class Tickets(Protocol):
    """Tickets of one kind, known to every node: for connecting, or (called codes) for signing in to the console.

    Every call raises Unavailable while they can't be had.
    """

    async def issue(self, identity: Identity) -> Ticket:
        """A ticket for `identity`, its expiry included. Raises TooMany where the user has too many that are unspent."""
        ...

    async def spend(self, text: str) -> Identity:
        """Whom the ticket was issued for; nobody will spend it again. Raises Denied, which does not quote it."""
        ...
