"""What a WebSocket's hand-shake, or a request for an event stream, gives to say who it is."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from starlette.datastructures import Headers

_SUBPROTOCOL: Final = "bearer."


class Given(NamedTuple):
    """A ticket or an access token, as it came; it may be empty."""

    is_ticket: bool
    text: str


def given(subprotocols: Sequence[str], headers: Headers, query: Mapping[str, str]) -> Given | None:
    """What counts of all that was given: the ticket, else the subprotocol, the header, the query.

    The others are not looked at, also where this one turns out to be bad: who sends a ticket means to spend it.
    Cookies are never read: a browser sends them for any page.
    """
    ticket = query.get("ticket")
    if ticket is not None:
        return Given(True, ticket)
    for subprotocol in subprotocols:
        if subprotocol.startswith(_SUBPROTOCOL):
            return Given(False, subprotocol.removeprefix(_SUBPROTOCOL))
    token = bearer(headers)
    if token is None:
        token = query.get("token")
    return None if token is None else Given(False, token)


def bearer(headers: Headers) -> str | None:
    """The token of `Authorization: Bearer`; None where there is no such header, or one of another scheme."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
