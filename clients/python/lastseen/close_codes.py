"""What each close code of the connection tells a client to do: the one table, for server and clients."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NOT_UTF8: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013
TOKEN_EXPIRED: Final = 4401
HEARTBEAT_TIMEOUT: Final = 4408
TOO_MANY: Final = 4429

AUTHENTICATION_REQUIRED: Final = "Authentication required"
INVALID_TOKEN: Final = "Invalid token"  # noqa: S105 - a sentence of the protocol
PROJECT_DENIED: Final = "Project access denied"


class Return(StrEnum):
    """When to come back."""

    AT_ONCE = "at once"
    """With the first, small random delay."""
    LATER = "later"
    """With exponential back-off."""
    AFTER_RENEWING = "after renewing"
    """At once with another token; with the same one never."""
    NEVER = "never"


class CloseCode(NamedTuple):
    """A row of the table."""

    meaning: str
    back: Return


CLOSE_CODES: Final[dict[int, CloseCode]] = {
    NORMAL: CloseCode("closed normally", Return.LATER),
    GOING_AWAY: CloseCode("the node is going away", Return.LATER),
    1002: CloseCode("a frame broke the WebSocket protocol", Return.LATER),
    1003: CloseCode("binary messages are not accepted", Return.NEVER),
    1005: CloseCode("closed without a code", Return.LATER),
    1006: CloseCode("the connection broke", Return.LATER),
    NOT_UTF8: CloseCode("a message was not UTF-8", Return.LATER),
    POLICY: CloseCode("refused; the reason says why", Return.NEVER),
    TOO_BIG: CloseCode("a message was too big", Return.NEVER),
    1010: CloseCode("an extension is missing", Return.NEVER),
    INTERNAL_ERROR: CloseCode("internal server error", Return.LATER),
    1012: CloseCode("the service restarts", Return.LATER),
    TRY_AGAIN_LATER: CloseCode("not ready yet", Return.LATER),
    1014: CloseCode("a gateway could not reach the service", Return.LATER),
    1015: CloseCode("the TLS hand-shake failed", Return.LATER),
    TOKEN_EXPIRED: CloseCode("the token has expired", Return.AFTER_RENEWING),
    HEARTBEAT_TIMEOUT: CloseCode("the client was silent for too long", Return.AT_ONCE),
    TOO_MANY: CloseCode("too many connections or messages", Return.LATER),
}

_WINDOW: Final = re.compile(r"\bcome back within (\d{1,6}) ms\b")
_AUTHENTICATION: Final = frozenset({AUTHENTICATION_REQUIRED, INVALID_TOKEN})


def when_to_return(code: int, reason: str = "") -> Return:
    """What a client does after this close; one that is not in the table is a fault that passes."""
    if code == POLICY and reason in _AUTHENTICATION:
        return Return.AFTER_RENEWING
    row = CLOSE_CODES.get(code)
    return Return.LATER if row is None else row.back


def going_away(reason: str, within_ms: int) -> str:
    """The reason of a 1001 that names the time within which its clients are to come back, spread over it."""
    return f"{reason}, come back within {within_ms} ms"


def return_window(code: int, reason: str) -> float | None:
    """The seconds over which the clients that got this close are to spread their return; None where it names none."""
    found = _WINDOW.search(reason) if code == GOING_AWAY else None
    return None if found is None else int(found[1]) / 1000
