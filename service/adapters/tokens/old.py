"""Access tokens: JSON Web Tokens signed with a shared secret (HS256)."""

from collections.abc import Iterable
from typing import Any, Final

import jwt
from lastseen.channels import parse_channel

from service.domain.errors import Denied, LastseenError
from service.domain.identity import Identity

ALGORITHM: Final = "HS256"
MIN_SECRET_BYTES: Final = 32
LEEWAY_SECONDS: Final = 5
"""How far the clocks of issuer and node may differ."""
MAX_TOKEN_CHARACTERS: Final = 8192


class InvalidToken(LastseenError):
    """The token is not accepted; the message says why, and is for the log rather than for the caller."""


class WeakSecret(LastseenError):
    """The secret is too short to sign with."""


def check_secret(secret: str) -> None:
    """Raises WeakSecret when `secret` is shorter than the hash that it keys."""
    size = len(secret.encode())
    if size < MIN_SECRET_BYTES:
        raise WeakSecret(f"the token secret has {size} bytes, it needs at least {MIN_SECRET_BYTES}")


def issue(
    secret: str,
    user: str,
    role: str,
    projects: Iterable[str],
    scopes: Iterable[str],
    ttl: int,
    now: int,
) -> str:
    """A token for `user`, good for `ttl` seconds from `now` (seconds since 1970). Raises WeakSecret."""
    check_secret(secret)
    claims = {
        "sub": user,
        "role": role,
        "projects": list(projects),
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + ttl,
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def verify(secret: str, token: str) -> Identity:
    """Whom `token` names and what it grants, by the clock of this machine. Raises InvalidToken, WeakSecret."""
    check_secret(secret)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken(f"the token has {len(token)} characters, at most {MAX_TOKEN_CHARACTERS} are read")
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            leeway=LEEWAY_SECONDS,
            options={"require": ["sub", "exp"], "verify_aud": False},
        )
    except (jwt.InvalidTokenError, OverflowError) as error:
        raise InvalidToken(str(error)) from error
    return Identity(
        user_id=_user(claims),
        role=_text(claims, "role"),
        projects=frozenset(_texts(claims, "projects")),
        scopes=frozenset(_text(claims, "scope").split()),
        expires_at=int(claims["exp"]),
    )


class SharedSecret:
    """The port `Authenticator` over one secret. Raises WeakSecret when made of one too short."""

    def __init__(self, secret: str) -> None:
        check_secret(secret)
        self._secret = secret

    async def identify(self, token: str) -> Identity:
        try:
            return verify(self._secret, token)
        except InvalidToken as error:
            raise Denied(f"the token is not accepted: {error}") from error


def _user(claims: dict[str, Any]) -> str:
    user = claims["sub"]
    try:
        return parse_channel(f"user:{user}").id
    except ValueError as error:
        raise InvalidToken(f"the claim sub is no user id: {user!r}") from error


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise InvalidToken(f"the claim {name} is a text, not {type(value).__name__}")
    return value


def _texts(claims: dict[str, Any], name: str) -> list[str]:
    value = claims.get(name, [])
    if not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        raise InvalidToken(f"the claim {name} is a list of texts")
    return value
