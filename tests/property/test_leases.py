"""Who is judged lost by what is seen of his lease."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.domain.leases import Watch

PATIENCE, BLINK = 10.0, 3.0


def test_silence_for_long_enough_and_nothing_less() -> None:
    watch = Watch(PATIENCE, BLINK)
    for second in range(10):
        assert watch.look(second, second + 0.5, {"a": 7, "b": second}) == {}
    # First seen at 0.5: at 10 that is 9.5 s ago.
    assert watch.look(10, 10.5, {"a": 7, "b": 10}) == {}
    assert watch.look(11, 11.5, {"a": 7, "b": 11}) == {"a": 7}
    assert watch.look(12, 12.5, {"b": 12}) == {}
    assert watch.look(13, 13.5, {"a": 7}) == {}, "he is new again"


def test_who_could_not_look_holds_that_against_nobody() -> None:
    watch = Watch(PATIENCE, BLINK)
    for second in range(10):
        watch.look(second, second, {"a": 7})
    assert watch.look(13, 13, {"a": 7}) == {}, "4 s without a look"
    for second in range(14, 23):
        assert watch.look(second, second, {"a": 7}) == {}
    assert watch.look(23, 23, {"a": 7}) == {"a": 7}


def test_a_look_that_hangs_is_none() -> None:
    watch = Watch(PATIENCE, BLINK)
    watch.look(0, 0, {"a": 7})
    assert watch.look(1, 60, {"a": 7}) == {}
    assert watch.look(60, 61, {"a": 7}) == {}


looks = st.lists(
    st.tuples(st.floats(0.1, 6.0), st.floats(0.0, 2.0), st.dictionaries(st.sampled_from("abc"), st.integers(0, 2))),
    min_size=1,
    max_size=60,
)


@given(looks)
def test_the_judged_showed_one_number_while_he_was_watched(
    looks: Sequence[tuple[float, float, dict[str, int]]],
) -> None:
    watch = Watch(PATIENCE, BLINK)
    past: list[tuple[float, float, dict[str, int]]] = []
    now = 0.0
    for pause, duration, renewals in looks:
        asked = now + pause
        answered = now = asked + duration
        past.append((asked, answered, renewals))
        lost = watch.look(asked, answered, renewals)
        for runner in "abc":
            # The looks back to the first of an unbroken row in which he showed the number of now.
            row = [past[-1]]
            for earlier in reversed(past[:-1]):
                if row[-1][1] - earlier[1] > BLINK or earlier[2].get(runner) != renewals.get(runner):
                    break
                row.append(earlier)
            is_lost = runner in renewals and asked - row[-1][1] >= PATIENCE
            assert (runner in lost) is is_lost
            assert lost.get(runner, renewals.get(runner)) == renewals.get(runner)
