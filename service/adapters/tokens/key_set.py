"""The keys that an issuer publishes (a JSON Web Key Set, RFC 7517), as far as they verify tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import jwt
from pydantic_core import from_json

ALGORITHM_OF: Final[Mapping[tuple[object, object], str]] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""By kind and curve. A key is good for one algorithm: the token has no say in that."""
ALGORITHMS: Final = frozenset(ALGORITHM_OF.values())
MIN_RSA_BITS: Final = 2048
MOST_KEYS: Final = 100


class BadKeySet(ValueError):
    """It is no key set."""


class Key(NamedTuple):
    """A public key, by the name that tokens call it by and the one algorithm that it is for."""

    id: str | None
    algorithm: str
    key: Any


def read_key_set(document: bytes) -> Sequence[Key]:
    """The keys of a document that can verify tokens; those of other kinds or uses, and secret ones, are left out.

    Raises BadKeySet.
    """
    try:
        given = from_json(document)
    except ValueError as error:
        raise BadKeySet(f"it is no JSON: {error}") from error
    entries = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(entries, list):
        raise BadKeySet("it is no object with a list keys")
    if len(entries) > MOST_KEYS:
        raise BadKeySet(f"it holds {len(entries)} keys, at most {MOST_KEYS} are read")
    keys = [_read_key(entry) for entry in entries if isinstance(entry, dict)]
    return [key for key in keys if key is not None]


def _read_key(entry: dict[str, Any]) -> Key | None:
    kind = entry.get("kty")
    curve = None if kind == "RSA" else entry.get("crv")
    id_ = entry.get("kid")
    operations = entry.get("key_ops", ["verify"])
    if not (isinstance(kind, str) and isinstance(curve, str | None) and isinstance(id_, str | None)):
        return None
    algorithm = ALGORITHM_OF.get((kind, curve))
    if (
        algorithm is None
        or entry.get("alg", algorithm) != algorithm
        or entry.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or "d" in entry
    ):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if kind == "RSA" and key.key_size < MIN_RSA_BITS:
        return None
    return Key(id_, algorithm, key)


def pick(keys: Sequence[Key], id_: str | None, algorithm: str) -> Key | None:
    """The key that a token calls by `id_`; one that calls by no name means the only one of its algorithm."""
    fitting = [key for key in keys if key.algorithm == algorithm and id_ in (None, key.id)]
    return fitting[0] if fitting and (id_ is not None or len(fitting) == 1) else None
