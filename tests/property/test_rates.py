"""A token bucket lets through what it says, at any rhythm."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.rates import Rates

KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(st.tuples(st.floats(0, 20), KEYS), max_size=200)


@given(st.floats(0.1, 50), st.integers(1, 30), STEPS)
def test_each_key_gets_what_a_bucket_holds(rate: float, burst: int, steps: list[tuple[float, str]]) -> None:
    """Against a bucket kept the plain way, which drips and is drawn from."""
    rates = Rates(rate, burst)
    held: dict[str, tuple[float, float]] = {}
    now = 1000.0
    for pause, key in steps:
        now += pause
        amount, since = held.get(key, (float(burst), now))
        amount = min(amount + (now - since) * rate, burst)
        wait = rates.take(key, now)
        if abs(amount - 1) < 1e-6:  # on the very edge either is right
            amount -= wait == 0
        elif amount > 1:
            assert wait == 0
            amount -= 1
        else:
            assert abs(wait - (1 - amount) / rate) < 1e-6
            assert rates.wait(key, now + wait + 1e-6) == 0
        held[key] = (amount, now)


@given(st.integers(1, 500), st.integers(1, 5000))
def test_what_is_kept_is_bounded(most: int, keys: int) -> None:
    rates = Rates(1.0, 5.0, most)
    for number in range(keys):
        rates.take(f"key {number}", number / 1000)
        assert len(rates) <= max(most, 1024) + 1
    rates.take("later", 1e6)
    for number in range(2000):
        rates.take("later still", 1e6 + number * 10)
    assert len(rates) <= max(most, 1024) + 1


def test_keys_that_rest_are_forgotten() -> None:
    rates = Rates(10.0, 5.0)
    for number in range(50_000):
        rates.take(f"key {number}", number / 1000)
    assert len(rates) < 5000, "each rests after a tenth of a second, in which a hundred others come"
