"""The port `Authenticator`: tokens of the shared secret and of the issuer's keys, each by its own algorithms."""

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from service.adapters.tokens.claims import Expected, header_of, identity_of, read
from service.adapters.tokens.errors import InvalidToken
from service.adapters.tokens.key_set import ALGORITHMS
from service.adapters.tokens.plain import PlainTokens
from service.adapters.tokens.published import PublishedKeys
from service.adapters.tokens.secret import ALGORITHM, check_secret
from service.domain.errors import Denied, LastseenError
from service.domain.identity import Identity

_REMEMBERED: Final = 20_000
"""Tokens whose signature is not computed again, in the order in which they came: some 10 MB."""


class TokenAuthenticator:
    """Accepts HS256 where there is a secret, RS256, ES256 and EdDSA where there are published keys.

    The token's header only chooses among these: a public key never verifies HS256, and the secret nothing else.
    Raises WeakSecret when made of a secret too short, LastseenError when made of neither.
    """

    def __init__(self, secret: str | None, keys: PublishedKeys | None, expected: Expected) -> None:
        if secret is None and keys is None:
            raise LastseenError("to verify tokens a secret is needed, or where the issuer publishes its keys")
        if secret is not None:
            check_secret(secret)
        self._secret = secret
        self._plain = None if secret is None else PlainTokens(secret, expected)
        self._keys = keys
        self._expected = expected
        self._verified: dict[bytes, Identity] = {}
        """By the digest of the token: those that the secret has signed."""

    async def identify(self, token: str) -> Identity:
        """As `Authenticator.identify`."""
        try:
            header = header_of(token)
            return self._known(token, header) or await self._of_keys(token, header)
        except InvalidToken as error:
            raise _denied(error) from error

    def identify_at_once(self, token: str) -> Identity | None:
        """As `IdentifiesAtOnce.identify_at_once`."""
        try:
            return self._known(token, header_of(token))
        except InvalidToken as error:
            raise _denied(error) from error

    def _known(self, token: str, header: Mapping[str, Any]) -> Identity | None:
        """Of a token of the secret; None for another."""
        if header.get("alg") != ALGORITHM or self._secret is None:
            return None
        return self._of_secret(self._secret, token, header)

    async def _of_keys(self, token: str, header: Mapping[str, Any]) -> Identity:
        algorithm = header.get("alg")
        if isinstance(algorithm, str) and algorithm in ALGORITHMS and self._keys is not None:
            key = await self._keys.find(header.get("kid"), algorithm)
            return read(token, key, algorithm, self._expected)
        raise InvalidToken(f"its algorithm is none of those accepted here: {', '.join(self._accepted)}")

    def _of_secret(self, secret: str, token: str, header: Mapping[str, Any]) -> Identity:
        """Of a token seen before all is known but whether it has ended since: neither it nor the secret changes."""
        seen = sha256(token.encode(errors="surrogatepass")).digest()
        identity = self._verified.get(seen)
        now = time.time()
        if identity is None or identity.expires_at <= now - self._expected.leeway:
            claims = self._plain.claims(token, header, now) if self._plain is not None else None
            identity = identity_of(claims) if claims is not None else read(token, secret, ALGORITHM, self._expected)
            while len(self._verified) >= _REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[seen] = identity
        return identity

    @property
    def _accepted(self) -> list[str]:
        return [*([ALGORITHM] if self._secret is not None else []), *(sorted(ALGORITHMS) if self._keys else [])]


def _denied(error: InvalidToken) -> Denied:
    return Denied(f"the token is not accepted: {error}")
