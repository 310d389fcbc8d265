"""An issuer of tokens that signs with keys of its own and publishes what verifies them."""

import json
import time
from dataclasses import dataclass
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class SigningKey:
    """A private key, and the name that tokens call it by."""

    algorithm: str
    id: str
    private: Any

    @classmethod
    def make(cls, algorithm: str, id_: str) -> Self:
        """A new one."""
        return cls(algorithm, id_, _MAKE[algorithm]())

    @property
    def public(self) -> dict[str, Any]:
        """What verifies its tokens, as an entry of a key set."""
        made = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {name: value for name, value in made.items() if name != "key_ops"} | {"kid": self.id}

    def token(self, user: str, *, headers: dict[str, Any] | None = None, ttl: int = 3600, **claims: Any) -> str:
        """A token; a header of None is left out."""
        named = {"kid": self.id, **(headers or {})}
        return jwt.encode(
            {"sub": user, "exp": int(time.time()) + ttl, **claims},
            self.private,
            algorithm=self.algorithm,
            headers={name: value for name, value in named.items() if value is not None},
        )


RSA = SigningKey.make("RS256", "rsa")
P256 = SigningKey.make("ES256", "p256")
ED25519 = SigningKey.make("EdDSA", "ed25519")


def key_set(*keys: SigningKey) -> bytes:
    """The document that publishes them."""
    return json.dumps({"keys": [key.public for key in keys]}).encode()
