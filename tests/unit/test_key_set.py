"""Which of an issuer's keys verify which tokens."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.adapters.tokens import InvalidToken, WeakSecret
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.adapters.tokens.key_set import BadKeySet, pick, read_key_set
from service.adapters.tokens.published import PublishedKeys
from service.domain.errors import Denied, LastseenError
from tests.issuer import ED25519, P256, RSA, SigningKey, key_set

SECRET = "s" * 32


def entry(key: SigningKey, **more: Any) -> dict[str, Any]:
    return {**key.public, **more}


def read(*entries: object) -> list[tuple[str | None, str]]:
    return [(key.id, key.algorithm) for key in read_key_set(json.dumps({"keys": entries}).encode())]


def test_a_key_is_for_the_one_algorithm_of_its_kind() -> None:
    found = read(entry(RSA, kid="r"), entry(P256, kid="p", use="sig"), entry(ED25519, kid="e", key_ops=["verify"]))
    assert found == [("r", "RS256"), ("p", "ES256"), ("e", "EdDSA")]


def jwk_of(key: Any, algorithm: type[Any]) -> dict[str, Any]:
    made: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
    return made


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(entry(RSA, alg="RS512"), id="another algorithm"),
        pytest.param(entry(RSA, alg="HS256"), id="a secret's algorithm"),
        pytest.param(entry(P256, alg="EdDSA"), id="an algorithm of another kind"),
        pytest.param(entry(RSA, use="enc"), id="for encryption"),
        pytest.param(entry(RSA, key_ops=["encrypt"]), id="other operations"),
        pytest.param(entry(RSA, key_ops="verify"), id="operations are no list"),
        pytest.param(entry(RSA, d="AQAB"), id="private"),
        pytest.param({"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()}, id="a secret"),
        pytest.param(
            jwk_of(rsa.generate_private_key(65537, 1024).public_key(), jwt.algorithms.RSAAlgorithm), id="short"
        ),
        pytest.param(
            jwk_of(ec.generate_private_key(ec.SECP384R1()).public_key(), jwt.algorithms.ECAlgorithm), id="curve"
        ),
        pytest.param(entry(P256, x="AAAA"), id="no point of the curve"),
        pytest.param(entry(RSA, n=7), id="a number as text"),
        pytest.param({"kty": "RSA"}, id="nothing in it"),
        pytest.param({"kty": "OKP", "crv": "Ed25519", "x": []}, id="a list as text"),
        pytest.param(entry(RSA, kid=7), id="a number as name"),
        pytest.param(entry(P256, crv=["P-256"]), id="a list as curve"),
        pytest.param({}, id="empty"),
        pytest.param("text", id="no object"),
    ],
)
def test_what_verifies_nothing_is_left_out(given: object) -> None:
    assert read(given) == []
    assert read(given, entry(ED25519, kid="e")) == [("e", "EdDSA")]


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"{}", b'{"keys":{}}', b"\xff", b"[" * 100_000, json.dumps({"keys": [{}] * 101}).encode()],
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(BadKeySet):
        read_key_set(document)


def test_a_key_is_found_by_name_and_algorithm() -> None:
    keys = read_key_set(key_set(RSA, P256, ED25519))
    assert pick(keys, "rsa", "RS256") is keys[0]
    assert pick(keys, "rsa", "ES256") is None
    assert pick(keys, None, "EdDSA") is keys[2]
    two = read_key_set(json.dumps({"keys": [entry(RSA, kid="a"), entry(RSA, kid="b")]}).encode())
    assert pick(two, None, "RS256") is None, "which of them is not said"


def authenticator(*keys: SigningKey, secret: str | None = None) -> TokenAuthenticator:
    async def fetch() -> bytes:
        return key_set(*keys)

    return TokenAuthenticator(
        secret, PublishedKeys(fetch, time.monotonic, refresh_seconds=1, max_age_seconds=60), Expected()
    )


@pytest.mark.parametrize("key", [RSA, P256, ED25519], ids=lambda key: key.algorithm)
async def test_tokens_of_the_issuer_are_accepted(key: SigningKey) -> None:
    accepts = authenticator(RSA, P256, ED25519, secret=SECRET)
    assert (await accepts.identify(key.token("ann", projects=["p"]))).user_id == "ann"
    assert (await accepts.identify(key.token("ann", headers={"kid": None}))).user_id == "ann"
    stranger = SigningKey.make(key.algorithm, key.id)
    with pytest.raises(Denied, match="signature"):
        await accepts.identify(stranger.token("ann"))
    with pytest.raises(Denied, match="no such key"):
        await accepts.identify(key.token("ann", headers={"kid": "other"}))


def pem(key: SigningKey) -> bytes:
    made: bytes = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made


def by_hand(header: dict[str, Any], sign: Any) -> str:
    def b64(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    claims = {"sub": "ann", "exp": int(time.time()) + 60}
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


async def test_the_token_chooses_no_algorithm() -> None:
    """A public key is public: whoever could make it the secret of HS256 could sign."""
    only_keys, only_secret = authenticator(RSA, P256, ED25519), TokenAuthenticator(SECRET, None, Expected())
    hs256 = jwt.get_algorithm_by_name("HS256")
    for key in (RSA, P256, ED25519):
        confused = by_hand({"alg": "HS256", "kid": key.id}, lambda text, key=key: hs256.sign(text, pem(key)))
        with pytest.raises(Denied, match="none of those accepted here: ES256, EdDSA, RS256"):
            await only_keys.identify(confused)
        with pytest.raises(Denied, match="signature"):
            await authenticator(RSA, P256, ED25519, secret=SECRET).identify(confused)
        with pytest.raises(Denied, match=r"none of those accepted here: HS256$"):
            await only_secret.identify(key.token("ann"))
    for algorithm in ("none", "None", "HS512", "RS512", "PS256", "", None, ["HS256"]):
        for accepts in (only_keys, only_secret):
            with pytest.raises(Denied):
                await accepts.identify(by_hand({"alg": algorithm}, lambda _: b""))
    unnamed: list[Any] = [7, [], {}]
    for id_ in unnamed:
        with pytest.raises(Denied):
            await only_keys.identify(by_hand({"alg": "RS256", "kid": id_}, lambda _: b""))


async def test_what_an_unverified_header_offers_is_not_taken() -> None:
    """Neither a key in the token nor an address in it."""
    stranger = SigningKey.make("RS256", "theirs")
    for offered in ({"jwk": stranger.public}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/"}):
        with pytest.raises(Denied, match="no such key"):
            await authenticator(RSA).identify(stranger.token("ann", headers={"kid": "theirs", **offered}))


async def test_a_key_is_good_for_its_own_kind_only() -> None:
    """The name of one key with the algorithm of another."""
    with pytest.raises(Denied, match="no such key"):
        await authenticator(RSA, P256).identify(P256.token("ann", headers={"kid": RSA.id}))


async def test_the_same_name_at_another_issuer_is_another_key() -> None:
    theirs = SigningKey.make("RS256", RSA.id)
    ours, other = authenticator(RSA), authenticator(theirs)
    assert await other.identify(theirs.token("ann"))
    with pytest.raises(Denied, match="signature"):
        await ours.identify(theirs.token("ann"))


def test_without_secret_and_keys_there_is_nothing_to_verify_with() -> None:
    with pytest.raises(LastseenError, match="a secret is needed"):
        TokenAuthenticator(None, None, Expected())
    with pytest.raises(WeakSecret):
        TokenAuthenticator("short", None, Expected())
    assert issubclass(InvalidToken, LastseenError)
