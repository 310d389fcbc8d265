"""A token of the secret means the same whether it is read the short way or PyJWT reads it."""

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm

from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected, header_of, read
from service.adapters.tokens.errors import InvalidToken
from service.adapters.tokens.plain import PlainTokens
from service.domain.errors import Denied
from service.domain.identity import Identity
from tests.service_process import SECRET

NOW = int(time.time())
TIMES = st.sampled_from([NOW - 100_000, NOW + 100_000, NOW + 100_000.5, str(NOW + 100_000), True, None, "soon", 10**12])
CLAIMS = st.fixed_dictionaries(
    {"sub": st.sampled_from(["ann", "a b", "", 7, None, ["ann"]]), "exp": TIMES},
    optional={
        "iat": TIMES,
        "nbf": TIMES,
        "aud": st.sampled_from(["here", "there", ["there", "here"], [], 7, None]),
        "iss": st.sampled_from(["issuer", "another", ["issuer"], None]),
        "jti": st.sampled_from(["one", 7, None]),
        "role": st.sampled_from(["admin", "viewer", 7]),
        "projects": st.sampled_from([["p"], [], "p", [7]]),
        "scope": st.sampled_from(["publish", ["publish"], 7]),
    },
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.just("HS256")},
    optional={
        "typ": st.sampled_from(["JWT", 7]),
        "kid": st.sampled_from(["k", 7, None]),
        "b64": st.booleans(),
        "cty": st.just("JWT"),
    },
)
EXPECTED = st.builds(Expected, audience=st.sampled_from([None, "here"]), issuer=st.sampled_from([None, "issuer"]))
SIGN = HMACAlgorithm(HMACAlgorithm.SHA256)


def written(part: Any) -> bytes:
    return urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=")


def signed(header: Any, claims: Any, secret: str = SECRET) -> str:
    text = written(header) + b"." + written(claims)
    return (text + b"." + written(SIGN.sign(text, secret.encode()))).decode()


def by_pyjwt(token: str, expected: Expected) -> Identity | str:
    try:
        header_of(token)
        return read(token, SECRET, "HS256", expected)
    except InvalidToken as error:
        return f"the token is not accepted: {error}"


def by_us(token: str, expected: Expected) -> Identity | str:
    try:
        identity = TokenAuthenticator(SECRET, None, expected).identify_at_once(token)
    except Denied as error:
        return str(error)
    assert identity is not None
    return identity


@given(HEADERS, CLAIMS, EXPECTED)
def test_whatever_a_token_says(header: dict[str, Any], claims: dict[str, Any], expected: Expected) -> None:
    token = signed(header, claims)
    assert by_us(token, expected) == by_pyjwt(token, expected)


@given(st.data())
def test_a_token_that_was_changed_anywhere(data: st.DataObject) -> None:
    good = signed({"alg": "HS256", "typ": "JWT"}, {"sub": "ann", "exp": NOW + 100_000})
    at = data.draw(st.integers(good.index("."), len(good)))
    cut = data.draw(st.integers(0, 2))
    token = good[:at] + data.draw(st.text("AZaz09-_.=+/ \né", max_size=2)) + good[at + cut :]
    assert by_us(token, Expected()) == by_pyjwt(token, Expected())


def test_the_short_way_is_gone() -> None:
    plain, expected = PlainTokens(SECRET, Expected()), {"sub": "ann", "exp": NOW + 100_000}
    header = {"alg": "HS256", "typ": "JWT"}
    assert plain.claims(signed(header, expected), header, NOW) == expected
    assert plain.claims(jwt.encode(expected, SECRET), header, NOW) == expected
    assert plain.claims(signed(header, expected, "another secret, as long as it has to be"), header, NOW) is None
    assert plain.claims(signed(header, b"no JSON"), header, NOW) is None
    assert plain.claims(signed(header, expected), header, NOW + 200_000) is None


def test_a_public_key_is_no_secret() -> None:
    key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    pem = f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----"
    token = signed({"alg": "HS256"}, {"sub": "ann", "exp": NOW + 100_000}, pem)
    assert PlainTokens(pem, Expected()).claims(token, {"alg": "HS256"}, NOW) is None
