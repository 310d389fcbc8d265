"""Tokens of the secret as issuers mostly make them, read without all that PyJWT does about others.

It finds out with each token that the secret is no public key, looks at each character of it, and reads its header once
more: three quarters of what a token costs. Here that is done once, or at one stroke, and whatever is not plainly right
is PyJWT's to judge, and to refuse. The signature is computed by PyJWT's own algorithm either way.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

import jwt
from jwt.algorithms import HMACAlgorithm
from pydantic_core import from_json

from service.adapters.tokens.claims import Expected

_SEGMENTS: Final = re.compile(rb"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_HEADER: Final = frozenset({"alg", "typ", "kid"})
_TIMES: Final = ("iat", "nbf")
_HS256: Final = HMACAlgorithm(HMACAlgorithm.SHA256)


class PlainTokens:
    """Those that a secret has signed and that say what is expected."""

    def __init__(self, secret: str, expected: Expected) -> None:
        self._expected = expected
        self._key: bytes | None
        try:
            self._key = _HS256.prepare_key(secret)
        except jwt.InvalidKeyError:
            self._key = None  # so PyJWT refuses it with each token

    def claims(self, token: str, header: Mapping[str, Any], now: float) -> dict[str, Any] | None:
        """What it says, where its signature holds and it is good at `now` (seconds since 1970).

        None for one that PyJWT has to look at: it may be good all the same. `header` is its own, of HS256.
        """
        if self._key is None or not token.isascii() or not header.keys() <= _HEADER:
            return None
        text = token.encode()
        found = _SEGMENTS.fullmatch(text)
        if found is None or not isinstance(header.get("kid", ""), str):
            return None
        payload, signature = _decoded(found[1]), _decoded(found[2])
        if payload is None or signature is None or not _HS256.verify(text[: found.end(1)], self._key, signature):
            return None
        try:
            claims = from_json(payload)
        except ValueError:
            return None
        return claims if isinstance(claims, dict) and self._is_expected(claims, now) else None

    def _is_expected(self, claims: Mapping[str, Any], now: float) -> bool:
        """Whether it plainly says what every token has to, and is good now."""
        expected = self._expected
        expires_at = claims.get("exp")
        if type(expires_at) is not int or expires_at <= now - expected.leeway:
            return False
        for name in _TIMES:
            since = claims.get(name, 0)
            if type(since) is not int or since > now + expected.leeway:
                return False
        if not (isinstance(claims.get("sub"), str) and isinstance(claims.get("jti", ""), str)):
            return False
        return (expected.audience is None or claims.get("aud") == expected.audience) and (
            expected.issuer is None or claims.get("iss") == expected.issuer
        )


def _decoded(segment: bytes) -> bytes | None:
    """The bytes of a part; None where it is not what they are written as."""
    try:
        decoded = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError:
        return None
    return decoded if urlsafe_b64encode(decoded).rstrip(b"=") == segment else None
