"""When the end of an access token is told, and when it ends the connection."""

from enum import StrEnum
from typing import Final, NamedTuple

NOTICE_SECONDS: Final = 60
"""So long before the token expires its end is told; at once where less is left."""


class Due(StrEnum):
    """What happens next to a connection because of its token."""

    TELL = "token_expiring"
    CLOSE = "token_expired"


class NextDue(NamedTuple):
    """What is next, and when, in milliseconds since 1970. It is due once `at_ms` is not above the time."""

    what: Due
    at_ms: int


def next_due(expires_at: int, leeway_seconds: int, *, told: bool) -> NextDue:
    """What the token that expires then (seconds since 1970) brings next; `told`: its end has been told already.

    It closes `leeway_seconds` after its expiry: until then a connection with the same token would be let in, and
    closing earlier would only make the client come back with it. Asked too late, what is next has merely passed.
    """
    if told:
        return NextDue(Due.CLOSE, (expires_at + leeway_seconds) * 1000)
    return NextDue(Due.TELL, (expires_at - NOTICE_SECONDS) * 1000)
