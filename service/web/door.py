"""Who comes in: the one way from what was given to an identity, for HTTP and WebSocket."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import Address, Headers

from service.addresses import address_block
from service.domain.errors import Denied, TooMany
from service.domain.identity import Identity
from service.domain.limits import TOO_MANY_FAILURES, Guest, Limits
from service.ports import Authenticator, Tickets
from service.web.credentials import Given
from service.web.sign_in import SignIn


@dataclass(frozen=True, slots=True)
class Door:
    """Made once, in `main`. `origins` are those of the pages that may open a WebSocket; none: any page.

    `sign_in` is there where this deployment signs tokens itself.
    """

    authenticator: Authenticator
    tickets: Tickets
    limits: Limits
    origins: frozenset[str] = frozenset()
    sign_in: SignIn | None = None

    def lets_page(self, headers: Headers) -> bool:
        """Whether the page that opens a WebSocket may; what is no browser names none, and may."""
        return not self.origins or all(origin.lower() in self.origins for origin in headers.getlist("origin"))

    async def identify(self, given: Given | None, client: Address | None) -> Identity:
        """Who it is. Raises Denied, Unavailable, or TooMany after too many failures from there."""
        identify = self.tickets.spend if given is not None and given.is_ticket else self.authenticator.identify
        return await self.check(identify, given.text if given is not None else "", client)

    def identify_at_once(self, given: Given, client: Address | None) -> Identity | None:
        """As `identify`; None where something has to be awaited for that."""
        # Not asked whether it is one: that takes longer than a token.
        identify: Callable[[str], Identity | None] | None = getattr(self.authenticator, "identify_at_once", None)
        if given.is_ticket or identify is None:
            return None
        address = self._may_try(given.text, client)
        try:
            return identify(given.text)
        except Denied:
            self.limits.failed(address, time.monotonic())
            raise

    async def check(
        self, identify: Callable[[str], Awaitable[Identity]], text: str, client: Address | None
    ) -> Identity:
        """Whom `text` names, as `identify` says. Raises as that."""
        address = self._may_try(text, client)
        try:
            return await identify(text)
        except Denied:
            self.limits.failed(address, time.monotonic())
            raise

    def _may_try(self, text: str, client: Address | None) -> str | None:
        """What counts as one address of those who try. Raises TooMany, and Denied for nothing."""
        address = _address(client)
        wait = self.limits.after_failures(address, time.monotonic())
        if wait:
            raise TooMany(TOO_MANY_FAILURES, retry_after=wait)
        if not text:
            raise Denied("Authentication required: send Authorization: Bearer TOKEN")
        return address

    def enter(self, identity: Identity, client: Address | None) -> Guest | str:
        """One more connection, which leaves when it is over; or the reason why there can't be."""
        return self.limits.enter(identity.user_id, _address(client))


def _address(client: Address | None) -> str | None:
    return address_block(client.host if client is not None else None)
