"""A viewer killed at any byte, between any write and any save, has written each byte once in the end."""

import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.chunks import Chunk
from lastseen.place import Place, PlaceError, Trimmer, load, output_size, surplus_of

chunk_lists = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=9)), max_size=20)


def numbered(pieces: list[tuple[str, bytes]]) -> list[Chunk]:
    next_: dict[str, int] = {}
    chunks = []
    for stream, raw in pieces:
        chunks.append(Chunk(stream, next_.get(stream, 0), raw))
        next_[stream] = chunks[-1].offset + len(raw)
    return chunks


def view(chunks: list[Chunk], output: bytearray, saved: Place, lives: int, saves: Iterator[bool]) -> Place:
    """One life of a viewer; the place that its file has then. Each event and each byte costs one of `lives`."""
    place = Place("task:t", "raw", saved.position, dict(saved.streams))
    trimmer = Trimmer(place.streams, surplus_of(saved, len(output)))
    first = int(saved.position.partition("=")[2]) + 1
    for number, chunk in enumerate(chunks[first:], first):
        if lives == 0:
            return saved
        lives -= 1
        data, missing = trimmer.trim(chunk)
        assert missing == 0
        output += data[:lives]
        if len(data) > lives:
            return saved
        lives -= len(data)
        place.position = f"k:0={number}"
        if next(saves):
            size = len(output) - trimmer.surplus
            saved = Place("task:t", "raw", place.position, dict(place.streams), size)
    return saved


@given(chunk_lists, st.lists(st.integers(0, 60), max_size=6), st.lists(st.booleans(), min_size=1, max_size=5))
def test_each_byte_is_written_once(pieces: list[tuple[str, bytes]], kills: list[int], saved_at: list[bool]) -> None:
    saves = cycle(saved_at)
    chunks = numbered(pieces)
    output = bytearray(b"from before")
    saved = Place("task:t", "raw", "k:0=-1", {}, len(output))
    for lives in kills:
        saved = view(chunks, output, saved, lives, saves)
    view(chunks, output, saved, 10**6, saves)
    assert bytes(output) == b"from before" + b"".join(raw for _, raw in pieces)


def test_bytes_that_never_came_are_counted() -> None:
    trimmer = Trimmer({"stdout": 5})
    assert trimmer.trim(Chunk("stdout", 3, b"abcd")) == (b"cd", 0)
    assert trimmer.trim(Chunk("stdout", 10, b"x")) == (b"x", 3)
    assert trimmer.trim(Chunk("stderr", 7, b"y")) == (b"y", 0)


def test_what_comes_after_an_orderly_end_is_not_ours() -> None:
    place = Place("task:t", "raw", "k:0=1", {}, 10, closed=True)
    assert surplus_of(place, 15) == 0
    place.closed = False
    assert surplus_of(place, 15) == 5
    assert surplus_of(place, 3) == 0
    assert surplus_of(place, None) == 0


def test_a_place_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "place"
    assert load(file, "task:t", "raw") is None
    place = Place("task:t", "raw", "k:0=1,3=9", {"stdout": 4}, 17)
    place.save(file)
    assert load(file, "task:t", "raw") == place
    assert os.listdir(tmp_path) == ["place"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "channel": "task:t", "mode": "raw", "position": "x"}',
        '{"version": 2, "channel": "task:t", "mode": "raw", "position": "k:0=1"}',
        '{"version": 1, "channel": "task:u", "mode": "raw", "position": "k:0=1"}',
        '{"version": 1, "channel": "task:t", "mode": "json", "position": "k:0=1"}',
    ],
)
def test_another_file_is_not_taken_for_a_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "place"
    file.write_text(text)
    with pytest.raises(PlaceError, match="name another file"):
        load(file, "task:t", "raw")


def test_the_size_of_an_output_is_where_it_is_written_next(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"0123456789")
    for flags, size in ((os.O_WRONLY | os.O_APPEND, 10), (os.O_RDWR, 0)):
        fd = os.open(file, flags)
        try:
            assert output_size(fd) == size
        finally:
            os.close(fd)
    read, write = os.pipe()
    assert output_size(write) is None
    os.close(read)
    os.close(write)
