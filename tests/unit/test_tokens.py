"""Tokens are read back as they were issued, and nothing else is accepted."""

import base64
import time
from typing import Any

import jwt
import pytest

from service.adapters.tokens import InvalidToken, WeakSecret, issue, verify
from service.adapters.tokens.claims import LEEWAY_SECONDS, Expected
from service.domain.identity import Identity

SECRET = "s" * 32
NOW = int(time.time())


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(headers: dict[str, Any] | None = None, **claims: Any) -> str:
    return jwt.encode({"sub": "u1", "exp": NOW + 3600, **claims}, SECRET, algorithm="HS256", headers=headers)


def test_a_token_says_who_and_what() -> None:
    token = issue(SECRET, "u1", "member", ["p1", "p2"], ["publish"], 3600, NOW)
    identity = verify(SECRET, token)
    assert identity == Identity("u1", "member", frozenset({"p1", "p2"}), frozenset({"publish"}), NOW + 3600)
    assert identity.may_publish
    assert not identity.is_admin


def test_left_out_claims_grant_nothing() -> None:
    token = jwt.encode({"sub": "u1", "exp": NOW + 3600}, SECRET, algorithm="HS256")
    assert verify(SECRET, token) == Identity("u1", "", frozenset(), frozenset(), NOW + 3600)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(issue("x" * 32, "u1", "", [], [], 3600, NOW), id="another secret"),
        pytest.param(issue(SECRET, "u1", "", [], [], 60, NOW - 61 - LEEWAY_SECONDS), id="expired"),
        pytest.param(jwt.encode({"sub": "u1", "exp": NOW + 3600}, SECRET * 2, algorithm="HS512"), id="algorithm"),
        pytest.param(jwt.encode({"sub": "u1", "exp": NOW + 3600}, "", algorithm="none"), id="unsigned"),
        pytest.param(jwt.encode({"sub": "u1"}, SECRET, algorithm="HS256"), id="no expiry"),
        pytest.param(jwt.encode({"exp": NOW + 3600}, SECRET, algorithm="HS256"), id="no user"),
        pytest.param(jwt.encode({"sub": "a b", "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="bad user id"),
        pytest.param(
            jwt.encode({"sub": "u", "projects": "p", "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="projects"
        ),
        pytest.param(jwt.encode({"sub": "u", "role": 1, "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="role"),
        pytest.param(signed(roles="admin"), id="roles"),
        pytest.param(signed(scp=[1]), id="scp"),
        pytest.param(signed(scope={}), id="scope"),
        pytest.param(signed(sub=7), id="a number as user"),
        pytest.param(signed(sub=None), id="null as user"),
        pytest.param(signed(exp="soon"), id="expiry as text"),
        pytest.param(signed(exp=10**12), id="expiry past all dates"),
        pytest.param(signed(exp=float("inf")), id="expiry without end"),
        pytest.param(signed(nbf=NOW + 86_400), id="not yet"),
        pytest.param(signed(iat=NOW + 86_400), id="issued in the future"),
        pytest.param(signed(headers={"crit": ["exp"]}), id="critical extension"),
        pytest.param(f"{b64(b'[]')}.{b64(b'{}')}.{b64(b'x')}", id="header is a list"),
        pytest.param(f"{b64(b'[' * 4000)}.e30.eA", id="deep header"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("é.b.c", id="not ASCII"),
        pytest.param("a" * 9000, id="too long"),
    ],
)
def test_anything_else_is_invalid(token: str) -> None:
    with pytest.raises(InvalidToken) as error:
        verify(SECRET, token)
    said = str(error.value)
    assert said
    assert not any(part in said for part in token.split(".") if len(part) > 3), "a token is not quoted"


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"role": "viewer", "roles": ["x", "super_admin"]}, "super_admin"),
        ({"roles": ["viewer", "admin"]}, "admin"),
        ({"roles": ["viewer", "editor"]}, "viewer"),
        ({"roles": []}, ""),
        ({"role": "viewer"}, "viewer"),
    ],
)
def test_a_role_or_a_list_of_them(claims: dict[str, Any], role: str) -> None:
    assert verify(SECRET, signed(**claims)).role == role


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "publish other"},
        {"scp": "publish other"},
        {"scp": ["other", "publish"]},
        {"scope": ["publish", "other"]},
        {"scope": "other", "scp": ["publish"]},
    ],
)
def test_scopes_are_words_or_a_list(claims: dict[str, Any]) -> None:
    assert verify(SECRET, signed(**claims)).scopes == {"publish", "other"}


EXPECTED = Expected(audience="lastseen", issuer="https://issuer.example")


def test_audience_and_issuer_are_checked_where_they_are_set() -> None:
    good = issue(SECRET, "u1", "", [], [], 3600, NOW, audience="lastseen", issuer="https://issuer.example")
    assert verify(SECRET, good, EXPECTED).user_id == "u1"
    assert verify(SECRET, good).user_id == "u1"
    several = signed(aud=["other", "lastseen"], iss="https://issuer.example")
    assert verify(SECRET, several, EXPECTED).user_id == "u1"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://issuer.example"}, "aud"),
        ({"iss": "https://issuer.example", "aud": "other"}, "aud"),
        ({"iss": "https://issuer.example", "aud": ["other"]}, "aud"),
        ({"iss": "https://issuer.example", "aud": 7}, "aud"),
        ({"aud": "lastseen"}, "iss"),
        ({"aud": "lastseen", "iss": "https://issuer.example/"}, "iss"),
    ],
)
def test_another_audience_or_issuer_is_refused(claims: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidToken, match=said):
        verify(SECRET, signed(**claims), EXPECTED)


def test_the_clock_may_differ_a_little() -> None:
    assert verify(SECRET, issue(SECRET, "u1", "", [], [], 60, int(time.time()) - 62)).user_id == "u1"


def test_how_much_is_a_setting() -> None:
    end = int(time.time()) - 20
    late = signed(exp=end)
    assert verify(SECRET, late, Expected(leeway=40)).expires_at == end
    with pytest.raises(InvalidToken, match="expired"):
        verify(SECRET, late, Expected(leeway=0))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(WeakSecret, match="at least 32"):
        issue("short", "u1", "", [], [], 60, NOW)
    with pytest.raises(WeakSecret):
        verify("short", "a.b.c")
