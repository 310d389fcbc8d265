"""Percents in a program's lines: which are found, and how often they are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.chunks import Chunk

from service.running.adapter import Published, Said
from service.running.adapters.progress import AT_ONCE, MAX_LINE_BYTES, ProgressAdapter


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def percents(published: list[Published]) -> list[float]:
    told = [one.data["percent"] for one in published if isinstance(one, Said)]
    return [percent for percent in told if isinstance(percent, int | float)]


def output(adapter: ProgressAdapter, *pieces: bytes, stream: str = "stdout") -> list[Published]:
    published: list[Published] = []
    offset = 0
    for piece in pieces:
        published += adapter.output(Chunk(stream, offset, piece))
        offset += len(piece)
    return published


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("tests/test_a.py ....F....   [ 42%]\n", 42),
        ("tests/test_b.py ....        [100%]\r\n", 100),
        ("[ 33%] Building C object x.o\n", 33),
        (" 42%|████▏     | 42/100 [00:01<00:01]", 42),
        ("Receiving objects:  7% (7/100)\r", 7),
        ("\r######                 42.5%", 42.5),
        ("\x1b[2K\x1b[32m 42%\x1b[0m done", 42),
        ("[3/12] CC main.o\n", 25),
        ("[1/3] CC main.o\n", 33.3),
        ("10%\r20%\r30%\n", 30),
        ("[ 10%] a\nno more than that\n", 10),
    ],
)
def test_lines_as_programs_print_them(line: str, percent: float) -> None:
    assert percents(output(ProgressAdapter(), line.encode())) == [percent]


@pytest.mark.parametrize(
    "line",
    ["", "no\n", "up to 50% off today\n", "[101%]\n", "999%\n", "[1/0] x\n", "see [2]\n", "[13/12]\n", "1.2.3%\n"],
)
def test_lines_that_say_nothing_of_progress(line: str) -> None:
    assert percents(output(ProgressAdapter(), line.encode())) == []


@given(st.lists(st.integers(0, 100), min_size=1, max_size=10), st.lists(st.integers(0, 80), max_size=20))
def test_a_cut_makes_no_number(told: list[int], cuts: list[int]) -> None:
    data = "".join(f"\r [{percent:3}%]" for percent in told).encode()
    places = sorted({min(cut, len(data)) for cut in cuts})
    adapter = ProgressAdapter(per_second=1e9)
    published = output(adapter, *(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)))
    found = percents([*published, *adapter.finish("stdout")])
    assert found[-1] == told[-1]
    left = iter([float(percent) for percent in told])
    assert all(percent in left for percent in found)  # in this order
    assert b"".join(one[0].raw for one in published if not isinstance(one, Said)) == data


def test_only_what_changes_is_told() -> None:
    adapter = ProgressAdapter()
    assert percents(output(adapter, b"10%\n", b"10%\n", b"x\n", b"11%\n", b"10%\n")) == [10, 11, 10]
    assert percents([*adapter.finish("stdout")]) == []


def test_a_flood_of_updates_is_thinned_out_and_the_last_is_told() -> None:
    clock = Clock()
    adapter = ProgressAdapter(per_second=2, clock=clock)
    flood = [f"{n % 100}%\n".encode() for n in range(1000)]
    assert len(percents(output(adapter, *flood))) == AT_ONCE
    assert percents(output(adapter, b"nothing new\n")) == []
    clock.now += 0.5
    assert percents(output(adapter, b"nothing new\n")) == [99]
    assert percents(output(adapter, b"12%\n")) == []
    assert percents([*adapter.finish("stdout")]) == [12]


def test_streams_do_not_mix() -> None:
    adapter = ProgressAdapter()
    assert percents(output(adapter, b"[ 4")) == []
    assert percents(output(adapter, b"2%]\n", stream="stderr")) == []
    assert percents(list(adapter.output(Chunk("stdout", 3, b"7%]\n")))) == [47]


def test_an_endless_line_is_looked_at_from_its_end() -> None:
    adapter = ProgressAdapter()
    assert percents(output(adapter, b"7" * MAX_LINE_BYTES * 3, b"%\n")) == []
    assert percents(output(adapter, b"x" * MAX_LINE_BYTES * 3 + b" [ 42%]\n")) == [42]


def test_patterns_of_ones_own() -> None:
    adapter = ProgressAdapter([r"step (?P<done>\d+) of (?P<total>\d+)", r"at (?P<percent>\d+)"])
    assert percents(output(adapter, b"step 3 of 4\n", b"at 80\n", b"[ 42%]\n")) == [75, 80]
    with pytest.raises(ValueError, match=r"'\(\\\\d\+\)%' needs a group named percent, or done and total"):
        ProgressAdapter([r"(\d+)%"])
