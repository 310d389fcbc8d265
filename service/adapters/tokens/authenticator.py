"""The port `Authenticator`: tokens of the shared secret and of the issuer's keys, each by its own algorithms."""

from service.adapters.tokens.claims import Expected, header_of, read
from service.adapters.tokens.errors import InvalidToken
from service.adapters.tokens.key_set import ALGORITHMS
from service.adapters.tokens.published import PublishedKeys
from service.adapters.tokens.secret import ALGORITHM, check_secret, verify
from service.domain.errors import Denied, LastseenError
from service.domain.identity import Identity


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
        self._keys = keys
        self._expected = expected

    async def identify(self, token: str) -> Identity:
        """As `Authenticator.identify`."""
        try:
            return await self._verify(token)
        except InvalidToken as error:
            raise Denied(f"the token is not accepted: {error}") from error

    async def _verify(self, token: str) -> Identity:
        header = header_of(token)
        algorithm = header.get("alg")
        if algorithm == ALGORITHM and self._secret is not None:
            return verify(self._secret, token, self._expected)
        if isinstance(algorithm, str) and algorithm in ALGORITHMS and self._keys is not None:
            key = await self._keys.find(header.get("kid"), algorithm)
            return read(token, key, algorithm, self._expected)
        raise InvalidToken(f"its algorithm is none of those accepted here: {', '.join(self._accepted)}")

    @property
    def _accepted(self) -> list[str]:
        return [*([ALGORITHM] if self._secret is not None else []), *(sorted(ALGORITHMS) if self._keys else [])]
