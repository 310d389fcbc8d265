"""Frames that are no messages: so many at once, and in the long run so many a second."""

from service.web.frame_allowance import FrameAllowance


def taken(allowance: FrameAllowance, number: int, now: float) -> int:
    return sum(allowance.take(now) for _ in range(number))


def test_many_at_once_and_then_as_many_as_time_passes() -> None:
    allowance = FrameAllowance()
    assert taken(allowance, 1_000, now=100.0) == 1_000
    assert not allowance.take(100.0)
    # What was too much has to be paid for too.
    assert taken(allowance, 51, now=101.02) == 50
    assert taken(allowance, 2_000, now=200.0) in (999, 1_000), "rounding may take one"


def test_a_pace_that_is_allowed_is_so_for_ever() -> None:
    allowance = FrameAllowance()
    assert all(allowance.take(1_000 + number / 50) for number in range(10_000))
