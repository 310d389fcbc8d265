"""The screen of a terminal: what is part of it, when it is told, and what it refuses."""

import random
from json import dumps
from typing import Any

import pytest
from lastseen.chunks import Chunk
from lastseen.envelope import Event

from service.running.screen import MAX_SNAPSHOT_BYTES, Screen, Snapshot, read_snapshot, screen_after
from service.running.screen_snapshots import INTERVAL_BYTES, ScreenSnapshots
from service.running.terminal_modes import TerminalModes


def snapshot_of(*pieces: bytes, columns: int = 20, rows: int = 4) -> Snapshot:
    screen = Screen(columns, rows)
    for piece in pieces:
        screen.feed(piece)
    snapshot = screen.snapshot()
    assert snapshot is not None
    return snapshot


def test_what_is_drawn_and_where_the_cursor_is() -> None:
    snapshot = snapshot_of(b"\x1b[1;31mred\x1b[0m\r\n\x1b[?25lx")
    assert snapshot.to_data() == {
        "columns": 20,
        "rows": 4,
        "offset": 23,
        "text": snapshot.text,
        "cursor": {"line": 1, "column": 1, "visible": False},
    }
    assert snapshot.text.startswith("\x1bc\x1b[0;31;1mred\x1b[0m")
    assert snapshot.text.endswith("\x1b[?25l")


def test_the_alternate_screen_comes_over_the_main_one() -> None:
    drawn = b"main\x1b[?1049h\x1b[Hfull screen"
    before = snapshot_of(b"main")
    inside = snapshot_of(drawn)
    assert "main" in inside.text
    assert "full screen" in inside.text
    left = screen_after(inside, [Chunk("pty", len(drawn), b"\x1b[?1049l")])
    assert "full screen" not in left.text
    assert (left.cursor_line, left.cursor_column) == (before.cursor_line, before.cursor_column)


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        ("\x1b]0;old\x07\x1b]2;new\x1b\\", "\x1b]2;new\x07"),
        ("\x1b[?2004h\x1b[?1004;2026h", "\x1b[?2004h\x1b[?1004h"),
        ("\x1b[?2004h\x1b[?2004l", ""),
        ("\x1b[?1002h\x1b[?1003h\x1b[?1006h", "\x1b[?1003h\x1b[?1006h"),
        ("\x1b[?1003h\x1b[?1000l", ""),
        ("\x1b=\x1b[5 q", "\x1b[5 q\x1b[?66h"),
        ("\x1b=\x1b>", ""),
        ("\x1b]2;title\x07\x1b[?2004h\x1bc", ""),
        ("\x1b]2;" + "x" * 257 + "\x07", ""),
    ],
)
def test_modes_that_show_nowhere_on_the_screen(stream: str, told: str) -> None:
    modes = TerminalModes()
    modes.feed(stream)
    assert modes.text == told
    again = TerminalModes()
    again.feed(modes.text)
    assert again.text == told
    assert snapshot_of(stream.encode()).text.startswith("\x1bc" + told)


def test_nothing_has_to_be_known_of_a_terminal_that_is_not_old_and_common() -> None:
    text = snapshot_of(b"\x1b[3g\x1b[4G\x1bH\x1b[38:5:200m" + b"x" * 19, "日本".encode()).text
    assert not any("\x80" <= character <= "\x9f" for character in text)
    assert ":" not in text
    assert "\x1b[0;38;5;200mx" in text
    assert "\x1b[3g" in text
    assert "x" * 19 in text


def test_accents_and_joiners_move_nothing() -> None:
    assert snapshot_of("e\u0301\u200d❤\ufe0fx".encode()).cursor_column == 3


def test_a_few_bytes_can_not_ask_for_hours_of_work() -> None:
    """Sixty-five thousand repetitions in eight bytes, ten thousand times, would draw 650 million characters."""
    screen = Screen(20, 4)
    screen.feed(b"a" + b"\x1b[65535b" * 10_000)
    screen.feed(b"\x1b[999999999b\r\x1b[J.")
    snapshot = screen.snapshot()
    assert snapshot is not None
    assert (snapshot.cursor_line, snapshot.cursor_column) == (3, 1)


def test_the_size_is_not_the_programs_to_change() -> None:
    snapshot = snapshot_of(b"\x1b[8;9999;9999t" + b"x" * 30)
    assert (snapshot.columns, snapshot.cursor_line, snapshot.cursor_column) == (20, 1, 10)
    with pytest.raises(ValueError, match="1 to 1000 columns and rows, not 0 by 4"):
        Screen(0, 4)
    with pytest.raises(ValueError, match="not 80 by 1001"):
        Screen(80, 1001)


def picture(columns: int, rows: int) -> bytes:
    pick = random.Random(1)
    cells = (
        f"\x1b[38;2;{pick.randrange(256)};{pick.randrange(256)};{pick.randrange(256)}m▀" for _ in range(columns * rows)
    )
    return "".join(cells).encode()


def test_a_screen_that_no_event_holds_is_not_told() -> None:
    screens = ScreenSnapshots(200, 60)
    drawn = picture(200, 60)
    screens.feed(drawn, 0)
    assert screens.due() is None
    screens.feed(b"\x1b[2J" + b"." * INTERVAL_BYTES, len(drawn))
    assert (screens.due() or pytest.fail("nothing told")).offset == len(drawn) + 4 + INTERVAL_BYTES


def test_what_is_told_fits_into_an_event() -> None:
    snapshot = snapshot_of(picture(90, 55), columns=90, rows=55)
    assert len(dumps(snapshot.text)) > MAX_SNAPSHOT_BYTES / 2
    event = Event(type="task_screen", category="task", task_id="t", data=snapshot.to_data())
    assert len(event.to_json()) < 256 * 1024


def test_a_screen_is_told_every_so_many_bytes_even_if_it_shows_the_same() -> None:
    screens = ScreenSnapshots(80, 24)
    offsets, offset = [], 0
    for _ in range(40):
        screens.feed(b"y\r\n" * 4096, offset)
        offset += 3 * 4096
        if snapshot := screens.due():
            assert snapshot.offset == offset
            offsets.append(offset)
    assert offsets == [12288 * 6 * nth for nth in range(1, 7)]


def test_pictures_leave_most_of_the_log_to_the_output() -> None:
    screens, drawn, offset, told = ScreenSnapshots(80, 24), picture(80, 24), 0, 0
    for _ in range(40):
        screens.feed(drawn, offset)
        offset += len(drawn)
        if snapshot := screens.due():
            told += len(snapshot.text)
    assert 0 < told < offset / 4


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match=r"chunk at 9 does not follow: the bytes from 5 are missing"):
        screen_after(snapshot_of(b"hello"), [Chunk("pty", 9, b"x")])
    screens = ScreenSnapshots(80, 24)
    screens.feed(b"hello", 0)
    with pytest.raises(ValueError, match="goes on at 5, not at 4"):
        screens.feed(b"o", 4)


def test_a_terminal_that_gives_up_ends_the_screen_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def give_up(self: Screen, data: bytes) -> None:
        raise PanicException("index out of bounds")

    screens = ScreenSnapshots(80, 24)
    monkeypatch.setattr(Screen, "feed", give_up)
    screens.feed(b"x" * INTERVAL_BYTES, 0)
    assert screens.due() is None
    screens.feed(b"more", INTERVAL_BYTES)
    assert screens.due() is None


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": 0},
        {"rows": 1001},
        {"offset": -1},
        {"offset": True},
        {"text": None},
        {"cursor": None},
        {"cursor": {"line": 0, "column": 0}},
        {"cursor": {"line": 0, "column": 99, "visible": True}},
    ],
)
def test_what_is_no_screen_says_so(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a task_screen needs columns, rows, offset, text and a cursor"):
        read_snapshot({**snapshot_of(b"x").to_data(), **changed})
