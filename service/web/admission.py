"""Who comes to a WebSocket, and whether it is let in."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lastseen import close_codes
from starlette.datastructures import Address, Headers

from service.domain.errors import Denied, TooMany, Unavailable
from service.domain.identity import Identity
from service.domain.limits import Guest
from service.web.credentials import Given, given
from service.web.door import Door


class Caller(NamedTuple):
    """What a hand-shake says, and where it came from."""

    query: Mapping[str, str]
    headers: Headers
    subprotocols: Sequence[str]
    client: Address | None


class Admitted(NamedTuple):
    """Who it is, and the place that it takes until the guest leaves."""

    identity: Identity
    guest: Guest


class Refusal(NamedTuple):
    """Code and reason of the close."""

    code: int
    reason: str


async def admit(caller: Caller, door: Door) -> Admitted | Refusal:
    """Who it is, where it is let in."""
    known_by = _known_by(caller, door)
    if isinstance(known_by, Refusal):
        return known_by
    try:
        identity = await door.identify(known_by, caller.client)
    except (Denied, TooMany, Unavailable) as error:
        return _refusal(error)
    return _enter(caller, door, identity)


def admit_at_once(caller: Caller, door: Door) -> Admitted | Refusal | None:
    """As `admit`; None where something has to be awaited for that."""
    known_by = _known_by(caller, door)
    if isinstance(known_by, Refusal):
        return known_by
    try:
        identity = door.identify_at_once(known_by, caller.client)
    except (Denied, TooMany, Unavailable) as error:
        return _refusal(error)
    return None if identity is None else _enter(caller, door, identity)


def _known_by(caller: Caller, door: Door) -> Given | Refusal:
    if not door.lets_page(caller.headers):
        return Refusal(close_codes.POLICY, "Origin not allowed")
    known_by = given(caller.subprotocols, caller.headers, caller.query)
    if known_by is None or not known_by.text:
        return Refusal(close_codes.POLICY, close_codes.AUTHENTICATION_REQUIRED)
    return known_by


def _refusal(error: Denied | TooMany | Unavailable) -> Refusal:
    match error:
        case Denied():
            return Refusal(close_codes.POLICY, close_codes.INVALID_TOKEN)
        case TooMany():
            return Refusal(close_codes.TOO_MANY, str(error))
        case _:
            return Refusal(close_codes.TRY_AGAIN_LATER, "Identity not known now")


def _enter(caller: Caller, door: Door, identity: Identity) -> Admitted | Refusal:
    guest = door.enter(identity, caller.client)
    if isinstance(guest, str):
        return Refusal(close_codes.TOO_MANY, guest)
    return Admitted(identity, guest)
