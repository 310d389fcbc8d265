"""What may be started for others."""

import re
import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.allowed import AllowList


@pytest.mark.parametrize(
    ("pattern", "command", "allowed"),
    [
        ("git", ["git"], True),
        ("git", ["git", "log", "a b"], True),
        ("git", ["/usr/bin/git"], False),
        ("git", ["git log"], False),
        ("git log *", ["git", "log", "--oneline", "; rm -rf /"], True),
        ("git log *", ["git", "log"], False),
        ("git log *", ["git", "-C", "/", "log", "x"], False),
        ("git log *", ["git log x"], False),
        ("git log *", ["git", "log x"], False),
        ("git log", ["git", "log"], True),
        ("git log", ["git", "log", "-p"], False),
        ("make * test", ["make", "-j", "2", "test"], True),
        ("make * test", ["make", "test"], False),
        ("make* test", ["make", "test"], True),
        ("make* test", ["makefile", "test"], True),
        ("echo 'a b' *", ["echo", "a b", "c"], True),
        ("echo 'a b' *", ["echo", "a", "b", "c"], False),
        ("echo aba*aba", ["echo", "aba"], False),
        ("echo *\n*", ["echo", "a\nb"], True),
        ("*", ["anything", "at all"], True),
        ("", ["git"], False),
        ("gi.", ["git"], False),
    ],
)
def test_patterns(pattern: str, command: list[str], allowed: bool) -> None:
    assert AllowList([pattern], ()).allows(command) is allowed
    assert AllowList(["no-such", pattern], ()).allows(command) is allowed


def test_nothing_is_allowed_that_is_not_listed() -> None:
    nothing = AllowList([], [])
    assert not nothing.allows(["true"])
    assert nothing.allows_env([])
    assert not nothing.allows_env(["HOME"])
    some = AllowList([], ["A", "B"])
    assert some.allows_env(["B"])
    assert not some.allows_env(["A", "PATH"])


words = st.text("ab *'", min_size=1, max_size=6)


@given(st.lists(st.text("ab '", max_size=3), min_size=2, max_size=4), st.lists(words, min_size=1, max_size=4))
def test_a_star_is_any_text(parts: list[str], command: list[str]) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, parts)), shlex.join(command), re.DOTALL)
    assert AllowList(["*".join(parts)], ()).allows(command) is bool(expected)


def test_no_command_makes_it_slow() -> None:
    began = time.process_time()
    assert not AllowList(["*".join("a" * 30) + " end"], ()).allows(["a" * 100_000])
    assert time.process_time() - began < 5
