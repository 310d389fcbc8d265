"""Signing in to the console: by a code that is good once, and then token by token."""

from dataclasses import dataclass, replace

from service.domain.identity import Identity
from service.ports import Tickets, TokenIssuer


@dataclass(frozen=True, slots=True)
class SignIn:
    """Made once, in `main`, of a deployment that signs tokens itself. `seconds`: for how long each is good."""

    codes: Tickets
    issuer: TokenIssuer
    seconds: int

    def session(self, identity: Identity, now: float) -> tuple[str, Identity]:
        """A token that says of its user what `identity` does, from `now` (seconds since 1970) on; and what it says."""
        lasting = replace(identity, expires_at=int(now) + self.seconds)
        return self.issuer.issue(lasting), lasting
