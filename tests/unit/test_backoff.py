"""The waits between attempts, and what each close code says about coming back."""

from hypothesis import given
from hypothesis import strategies as st
from lastseen.backoff import Backoff
from lastseen.close_codes import (
    AUTHENTICATION_REQUIRED,
    CLOSE_CODES,
    GOING_AWAY,
    INVALID_TOKEN,
    POLICY,
    PROJECT_DENIED,
    TRY_AGAIN_LATER,
    Return,
    going_away,
    return_window,
    when_to_return,
)


def test_the_step_doubles_up_to_the_cap() -> None:
    backoff = Backoff(base=1.0, cap=10.0, random=lambda: 0.5)
    assert [backoff.next() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 0.5


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 5000))
def test_a_delay_is_anything_from_nothing_to_the_cap(random: float, attempts: int) -> None:
    backoff = Backoff(base=0.25, cap=15.0, random=lambda: random, attempts=attempts)
    assert 0 <= backoff.next() <= 15.0


def test_the_delays_of_many_clients_spread() -> None:
    first = [Backoff(base=1.0).next() for _ in range(1000)]
    assert min(first) < 0.1
    assert max(first) > 0.9


def test_a_refused_token_asks_for_another_and_a_denied_project_for_nothing() -> None:
    assert when_to_return(POLICY, INVALID_TOKEN) is Return.AFTER_RENEWING
    assert when_to_return(POLICY, AUTHENTICATION_REQUIRED) is Return.AFTER_RENEWING
    assert when_to_return(POLICY, PROJECT_DENIED) is Return.NEVER
    assert when_to_return(4401) is Return.AFTER_RENEWING
    assert when_to_return(4408) is Return.AT_ONCE


def test_what_is_not_in_the_table_passes() -> None:
    assert 3999 not in CLOSE_CODES
    assert when_to_return(3999) is Return.LATER


def test_faults_of_line_and_server_bring_the_client_back() -> None:
    for code in (1001, 1005, 1006, 1011, 1012, 1013, 4429):
        assert when_to_return(code) is Return.LATER, code


def test_who_goes_away_names_the_time_to_come_back_within() -> None:
    said = going_away("Server is going away", 5_000)
    assert return_window(GOING_AWAY, said) == 5.0
    for code, reason in ((GOING_AWAY, "Server is going away"), (GOING_AWAY, ""), (TRY_AGAIN_LATER, said)):
        assert return_window(code, reason) is None


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 999_999))
def test_the_return_lies_within_it(random: float, within_ms: int) -> None:
    window = return_window(GOING_AWAY, going_away("x", within_ms))
    assert window is not None
    assert 0 <= Backoff(random=lambda: random).within(window) <= within_ms / 1000
