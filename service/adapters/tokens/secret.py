"""Tokens signed with a secret that issuer and node share (HS256)."""

from collections.abc import Iterable
from typing import Final

import jwt

from service.adapters.tokens.claims import Expected, header_of, read
from service.adapters.tokens.errors import InvalidToken, WeakSecret
from service.domain.identity import Identity

ALGORITHM: Final = "HS256"
MIN_SECRET_BYTES: Final = 32


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
    *,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """A token for `user`, good for `ttl` seconds from `now` (seconds since 1970). Raises WeakSecret."""
    check_secret(secret)
    claims: dict[str, object] = {
        "sub": user,
        "role": role,
        "projects": list(projects),
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + ttl,
    }
    claims |= {name: value for name, value in (("aud", audience), ("iss", issuer)) if value is not None}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def verify(secret: str, token: str, expected: Expected | None = None) -> Identity:
    """Whom `token` names and what it grants, by the clock of this machine. Raises InvalidToken, WeakSecret."""
    check_secret(secret)
    if header_of(token).get("alg") != ALGORITHM:
        raise InvalidToken(f"only {ALGORITHM} is accepted with the secret")
    return read(token, secret, ALGORITHM, expected or Expected())
