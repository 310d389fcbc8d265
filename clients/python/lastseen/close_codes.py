"""The one table of WebSocket close codes: what each means, and when a client comes back."""

from enum import Enum, IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Codes that the server closes with."""

    GOING_AWAY = 1001
    POLICY = 1008
    """The reason says which: `Authentication required`, `Invalid token`, `Project access denied`, …"""
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013
    TOKEN_EXPIRED = 4401
    HEARTBEAT_TIMEOUT = 4408
    TOO_MANY = 4429


class Return(Enum):
    """When a client comes back after a close."""

    AT_ONCE = "at once"
    LATER = "later"
    """After a back-off."""
    RENEWED = "renewed"
    """With a new token."""
    NEVER = "never"


_RETURNS: Final = {
    1000: Return.NEVER,
    CloseCode.GOING_AWAY: Return.AT_ONCE,
    CloseCode.POLICY: Return.NEVER,
    CloseCode.TOO_BIG: Return.NEVER,
    CloseCode.INTERNAL_ERROR: Return.LATER,
    CloseCode.TRY_AGAIN_LATER: Return.LATER,
    CloseCode.TOKEN_EXPIRED: Return.RENEWED,
    CloseCode.HEARTBEAT_TIMEOUT: Return.AT_ONCE,
    CloseCode.TOO_MANY: Return.LATER,
}


def when_to_return(code: int) -> Return:
    """What the table says; a code that it lacks (1006, 1012, a proxy's own) is a network's, so later."""
    return _RETURNS.get(code, Return.LATER)
