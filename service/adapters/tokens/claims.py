"""What a token says, once its signature holds."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jwt
from jwt.exceptions import InvalidSubjectError
from lastseen.channels import parse_channel
from pydantic_core import from_json

from service.adapters.tokens.errors import InvalidToken
from service.domain.identity import ADMIN_ROLES, Identity

MAX_TOKEN_CHARACTERS: Final = 6144
"""With it a header still fits into the 8 KiB that a server reads of one."""
LEEWAY_SECONDS: Final = 5
_HEADERS: Final = 64
"""Headers that are kept: tokens of one issuer and key have the same."""
_LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999, the last that a date can be written for."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What every token has to say. `leeway` is how far the clocks of issuer and node may differ, in seconds."""

    audience: str | None = None
    issuer: str | None = None
    leeway: int = LEEWAY_SECONDS


def header_of(token: str) -> dict[str, Any]:
    """The header of a token, which is not verified: it chooses among what is allowed and nothing else.

    Raises InvalidToken, also where the token is too long or asks for what only other readers understand.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidToken(f"it has {len(token)} characters, at most {MAX_TOKEN_CHARACTERS} are read")
    header = _header_of(token.partition(".")[0])
    if header is None:
        raise InvalidToken("it is no JSON Web Token")
    if "crit" in header:
        raise InvalidToken("its header names extensions as critical, and none is known here")
    return header


@lru_cache(_HEADERS)
def _header_of(segment: str) -> dict[str, Any] | None:
    """What a token's first part says; None where it is no header. The rest is checked where it is verified."""
    try:
        header = from_json(urlsafe_b64decode(segment.encode() + b"=" * (-len(segment) % 4)))
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def read(token: str, key: Any, algorithm: str, expected: Expected) -> Identity:
    """Whom the token names and what it grants, by the clock of this machine. Raises InvalidToken.

    `key` is a text or what PyJWT makes of a key; it must be of the kind that `algorithm` takes.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=expected.audience,
            issuer=expected.issuer,
            leeway=expected.leeway,
            options={
                "require": ["sub", "exp"],
                "verify_aud": expected.audience is not None,
                "verify_iss": expected.issuer is not None,
                "enforce_minimum_key_length": True,
            },
        )
    except (jwt.PyJWTError, OverflowError, ValueError, TypeError, RecursionError) as error:
        raise InvalidToken(_why(error)) from error
    return identity_of(claims)


def identity_of(claims: Mapping[str, Any]) -> Identity:
    """Whom the claims of a token that holds name, and what they grant. Raises InvalidToken."""
    expires_at = int(claims["exp"])
    if expires_at > _LAST_SECOND:
        raise InvalidToken("the claim exp lies beyond the year 9999")
    return Identity(
        user_id=_user(claims),
        role=_role(claims),
        projects=frozenset(_list(claims, "projects")),
        scopes=frozenset(_words(claims, "scope")) | frozenset(_words(claims, "scp")),
        expires_at=expires_at,
    )


def _why(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet (nbf or iat)"
        case jwt.InvalidAudienceError():
            return "the claim aud does not name this service"
        case jwt.InvalidIssuerError():
            return "the claim iss does not name the issuer"
        case jwt.MissingRequiredClaimError():
            return f"the claim {error.claim} is missing"
        case jwt.InvalidSignatureError():
            return "the signature does not fit"
        case jwt.InvalidAlgorithmError() | jwt.InvalidKeyError():
            return "the key does not fit the algorithm"
        case InvalidSubjectError():
            return "the claim sub is no text"
        case _:
            return "it is malformed"


def _user(claims: Mapping[str, Any]) -> str:
    try:
        return parse_channel(f"user:{claims['sub']}").id
    except ValueError as error:
        raise InvalidToken("the claim sub is no user id") from error


def _role(claims: Mapping[str, Any]) -> str:
    """`role`, or of `roles` the one that grants most, else the first."""
    role = claims.get("role", "")
    if not isinstance(role, str):
        raise InvalidToken("the claim role is no text")
    roles = [role, *_list(claims, "roles")] if role else _list(claims, "roles")
    return next((one for one in roles if one in ADMIN_ROLES), roles[0] if roles else "")


def _words(claims: Mapping[str, Any], name: str) -> list[str]:
    """Words between spaces, or a list of them: issuers differ."""
    value = claims.get(name, "")
    return value.split() if isinstance(value, str) else _list(claims, name)


def _list(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claims.get(name, [])
    if not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        raise InvalidToken(f"the claim {name} is no list of texts")
    return value
