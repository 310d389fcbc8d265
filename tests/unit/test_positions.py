import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.positions import EARLIEST, Position

OFFSETS = st.dictionaries(st.integers(0, 2**31 - 1), st.integers(-1, 2**63 - 1), max_size=20)
POSITIONS = st.builds(Position, st.just("k3f9"), OFFSETS)


@given(POSITIONS)
def test_a_token_is_read_back(position: Position) -> None:
    assert Position.parse(position.token) == position


def test_earliest_is_a_word_of_its_own() -> None:
    assert Position.parse("earliest") == EARLIEST
    assert EARLIEST.token == "earliest"
    assert EARLIEST.is_earliest


def test_the_token_names_partitions_in_order() -> None:
    assert Position("k3f9", {7: 88, 0: 1523}).token == "k3f9:0=1523,7=88"


@pytest.mark.parametrize(
    "token",
    [
        "", "k3f9", "K3F9:0=1", ":0=1", "k3f9:0", "k3f9:0=", "k3f9:0=-2", "k3f9:-1=0", "k3f9:0=1,", "k3f9:0=1,0=2",
        "k3f9:00=1", "k3f9:0=01", "k3f9:0=1;1=2", "k3f9:0=9223372036854775808", "k3f9:2147483648=0", "k3f9:0=١",
        "k3f9 :0=1", "k3f9:0=1\n", "Earliest", "x" * 70_000,
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_with_an_example(token: str) -> None:
    with pytest.raises(ValueError, match=r"k3f9:0=1523,7=88|at most 65536"):
        Position.parse(token)


@given(POSITIONS, POSITIONS)
def test_raised_is_the_maximum_and_lowered_the_minimum(a: Position, b: Position) -> None:
    for partition in a.offsets.keys() | b.offsets.keys():
        mine, theirs = a.offsets.get(partition, -2), b.offsets.get(partition, -2)
        assert a.raised(b).offsets.get(partition, -2) == max(mine, theirs)
        assert a.lowered(b).offsets.get(partition, -2) == min(mine, theirs)
    assert a.raised(EARLIEST) == a == EARLIEST.raised(a)
    assert a.lowered(EARLIEST) == EARLIEST == EARLIEST.lowered(a)


def test_positions_of_two_epochs_are_not_compared() -> None:
    with pytest.raises(ValueError, match="epochs a and b"):
        Position("a", {0: 1}).raised(Position("b", {0: 2}))


def test_advancing_never_lowers() -> None:
    position = Position("a", {0: 5})
    assert position.advanced(0, 3) is position
    assert position.advanced(0, 6).offsets == {0: 6}
    assert position.advanced(1, -1).offsets == {0: 5, 1: -1}
    assert position.has_seen(0, 5)
    assert not position.has_seen(0, 6)
    assert not position.has_seen(1, 0)
