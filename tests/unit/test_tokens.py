"""Tokens are read back as they were issued, and nothing else is accepted."""

import time

import jwt
import pytest

from service.adapters.tokens import LEEWAY_SECONDS, InvalidToken, WeakSecret, issue, verify
from service.domain.identity import Identity

SECRET = "s" * 32
NOW = int(time.time())


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
        pytest.param(jwt.encode({"sub": "u1", "exp": NOW + 3600}, None, algorithm="none"), id="unsigned"),
        pytest.param(jwt.encode({"sub": "u1"}, SECRET, algorithm="HS256"), id="no expiry"),
        pytest.param(jwt.encode({"exp": NOW + 3600}, SECRET, algorithm="HS256"), id="no user"),
        pytest.param(jwt.encode({"sub": "a b", "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="bad user id"),
        pytest.param(
            jwt.encode({"sub": "u", "projects": "p", "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="projects"
        ),
        pytest.param(jwt.encode({"sub": "u", "role": 1, "exp": NOW + 3600}, SECRET, algorithm="HS256"), id="role"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("é.b.c", id="not ASCII"),
        pytest.param("a" * 9000, id="too long"),
    ],
)
def test_anything_else_is_invalid(token: str) -> None:
    with pytest.raises(InvalidToken):
        verify(SECRET, token)


def test_the_clock_may_differ_a_little() -> None:
    assert verify(SECRET, issue(SECRET, "u1", "", [], [], 60, int(time.time()) - 62)).user_id == "u1"


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(WeakSecret, match="at least 32"):
        issue("short", "u1", "", [], [], 60, NOW)
    with pytest.raises(WeakSecret):
        verify("short", "a.b.c")
