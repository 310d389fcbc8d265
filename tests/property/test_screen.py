"""However a terminal's bytes come in pieces: a snapshot and what follows show what all of them show."""

import json

import avt
import pyte
from hypothesis import example, given, note
from hypothesis import strategies as st
from lastseen.chunks import Chunker

from service.running.screen import (
    MAX_HELD,
    Screen,
    Snapshot,
    read_snapshot,
    screen_after,
)

sizes = st.sampled_from([(1, 1), (2, 1), (3, 3), (10, 5), (20, 4), (80, 24)])
numbers = st.one_of(st.integers(0, 30), st.sampled_from([99, 9999, 65535, 10**9])).map(str)
csi = st.builds(
    lambda mark, numbers, final: f"\x1b[{mark}{';'.join(numbers)}{final}",
    st.sampled_from(["", "", "", "?", "!", ">"]),
    st.lists(numbers, max_size=3),
    st.sampled_from("@ABCDEFGHIJKLMPSTXZ`abcdefghlmnpqrstux"),
)
modes = st.builds(
    lambda mode, on: f"\x1b[?{mode}{on}",
    st.sampled_from([1, 5, 6, 7, 25, 47, 66, 1000, 1002, 1003, 1006, 1047, 1048, 1049, 2004]),
    st.sampled_from("hl"),
)
colours = st.builds(
    lambda codes: f"\x1b[{codes}m", st.sampled_from(["0", "1;31", "38;5;200", "48;2;1;2;3", "7", "4:3"])
)
words = st.sampled_from(
    [
        "a",
        "bc",
        "hello world ",
        "é",
        "e\u0301",
        "日本",
        "🎉",
        "👩\u200d👧",
        "❤\ufe0f",
        "\x80",
        "\x9b5A",
        "\x9d2;t\x9c",
        "x" * 30,
    ]
)
controls = st.sampled_from(
    ["\n", "\r\n", "\r", "\t", "\b", "\a", "\x0e", "\x0f", "\x18", "\x1b", "\0", "\x7f"]
    + [f"\x1b{final}" for final in "78DEHMc=>\\"]
    + ["\x1b(0", "\x1b)0", "\x1b(B", "\x1b#8", "\x1b[3g", "\x1b[2;4r", "\x1b[!p", "\x1b[4 q", "\x1b[", "\x1b[?10"]
    + [
        "\x1b]2;title\a",
        "\x1b]0;other\x1b\\",
        "\x1b]8;;http://x\x1b\\",
        "\x1bPq#0~~\x1b\\",
        "\x1b]2;",
        "\x1bP",
        "\x1b_x\x1b\\",
    ]
)
streams = st.lists(
    st.one_of(
        st.one_of(csi, modes, colours, words, controls).map(str.encode),
        st.binary(max_size=6),
        st.integers(0, 2).map(lambda more: b"\x1b]2;" + b"y" * (MAX_HELD - 1 + more)),
    ),
    max_size=30,
).map(b"".join)


def shown(screen: Screen) -> Snapshot:
    """What there is to see, whatever sequence was unfinished."""
    screen.feed(b"\x18\x18\x1b\\\x18")
    snapshot = screen.snapshot()
    assert snapshot is not None
    return snapshot


def fed(size: tuple[int, int], *pieces: bytes) -> Screen:
    screen = Screen(*size)
    for piece in pieces:
        screen.feed(piece)
    return screen


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(at, len(stream)) for at in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(sizes, streams, st.lists(st.integers(0, 400), max_size=8))
def test_it_does_not_matter_how_the_stream_is_cut(size: tuple[int, int], stream: bytes, cuts: list[int]) -> None:
    whole = shown(fed(size, stream))
    assert shown(fed(size, *cut(stream, cuts))) == whole


@given(sizes, streams, st.integers(0, 400))
@example((10, 5), "日本".encode(), 1)
@example((10, 5), b"a\x1b[38;5;200mb", 5)
@example((10, 5), b"0123456789x", 10)
@example((10, 5), b"main\x1b[?1049halternate\x1b[?1049l!", 20)
def test_a_snapshot_and_the_rest_show_what_the_whole_shows(size: tuple[int, int], stream: bytes, at: int) -> None:
    snapshot = fed(size, stream[:at]).snapshot()
    assert snapshot is not None
    assert max(0, min(at, len(stream)) - 3) <= snapshot.offset <= len(stream)
    again = Screen.of(read_snapshot(json.loads(json.dumps(snapshot.to_data()))))
    again.feed(stream[snapshot.offset :])
    assert shown(again) == shown(fed(size, stream))


@given(sizes, streams, st.lists(st.integers(0, 400), max_size=8), st.integers(0, 8))
def test_a_reader_goes_on_with_the_chunks(size: tuple[int, int], stream: bytes, cuts: list[int], seen: int) -> None:
    chunker = Chunker("pty")
    chunks = [chunk for piece in cut(stream, cuts) for chunk in (*chunker.feed(piece), *chunker.flush())]
    chunks += chunker.finish()
    snapshot = fed(size, *(chunk.raw for chunk in chunks[:seen])).snapshot()
    assert snapshot is not None
    after = screen_after(snapshot, chunks[max(0, seen - 2) :])
    assert after.offset + 3 >= len(stream)
    assert shown(Screen.of(after)) == shown(Screen.of(screen_after(fed(size).snapshot() or after, chunks)))


texts = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "bc", "hello ", "é", "\r\n", "\r", "\b", "\t", "\x1b7", "\x1b8", "\x1b[3;2H", "\x1b[2A", "\x1b[4C"]
        ),
        st.sampled_from(
            ["\x1b[K", "\x1b[1J", "\x1b[2J", "\x1b[2L", "\x1b[M", "\x1b[2P", "\x1b[3X", "\x1b[2;4r", "\x1b[?25l"]
        ),
        st.sampled_from(
            ["\x1b[31m", "\x1b[1;44m", "\x1b[38;5;200m", "\x1b[38;2;1;2;3m", "\x1b[7m", "\x1b[0m", "\x1b[?7l"]
        ),
    ),
    max_size=40,
).map("".join)


@given(texts)
def test_another_terminal_draws_the_same_by_the_text(text: str) -> None:
    snapshot = fed((10, 5), text.encode()).snapshot()
    assert snapshot is not None
    note(repr((text, snapshot.text)))
    other = pyte.Screen(10, 5)
    pyte.Stream(other).feed("left over\x1b[2;3r\x1b[31m\x1b7" + snapshot.text)
    ours = avt.Vt(10, 5, 0)
    ours.feed_str(text)
    for line, cells in enumerate(ours.view()):
        for column, cell in enumerate(cells.cells):
            drawn = other.buffer[line][column]
            assert (drawn.data, drawn.bold, drawn.reverse) == (cell.char, cell.pen.bold, cell.pen.inverse)
            assert (drawn.fg, drawn.bg) == (colour(cell.pen.foreground), colour(cell.pen.background))
    assert other.cursor.hidden != ours.cursor.visible == snapshot.cursor_visible
    assert (other.cursor.y, other.cursor.x) == (snapshot.cursor_line, snapshot.cursor_column)


def colour(colour: avt.Color | None) -> str:
    match colour:
        case avt.Color.Indexed():
            return {1: "red", 4: "blue", 200: "ff00d7"}[colour[0]]
        case avt.Color.RGB():
            return f"{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"
        case _:
            return "default"
