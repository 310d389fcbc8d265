"""The port `TokenIssuer`: tokens signed with the secret that all nodes have."""

import time

from service.adapters.tokens.claims import Expected
from service.adapters.tokens.secret import issue
from service.domain.identity import Identity


class SecretIssuer:
    """Names the audience and issuer that the nodes expect."""

    def __init__(self, secret: str, expected: Expected) -> None:
        self._secret = secret
        self._expected = expected

    def issue(self, identity: Identity) -> str:
        """As `TokenIssuer.issue`."""
        now = int(time.time())
        return issue(
            *(self._secret, identity.user_id, identity.role, sorted(identity.projects), sorted(identity.scopes)),
            *(identity.expires_at - now, now),
            audience=self._expected.audience,
            issuer=self._expected.issuer,
        )
