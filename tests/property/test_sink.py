"""The sink of `lastseen tail` on a real file: killed between any two steps, it goes on to the byte."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lastseen.chunks import Chunk
from lastseen.place import Place, load
from lastseen.positions import Position
from lastseen.stream import Moved, Received

from service.cli.sink import Json, Raw, Sink, cut_surplus, trimmer_of

outputs = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=9)), max_size=12)
lives = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9), st.booleans()), max_size=4)


def events_of(pieces: list[tuple[str, bytes]]) -> list[Received]:
    next_: dict[str, int] = {}
    events = []
    for offset, (stream, raw) in enumerate(pieces):
        chunk = Chunk(stream, next_.get(stream, 0), raw)
        next_[stream] = chunk.offset + len(raw)
        event = {"id": f"e{offset}", "type": "task_output", "data": chunk.to_data()}
        events.append(Received(event, Position("k", {0: offset})))
    return events


def live(file: Path, out: Path, mode: str, events: list[Received], count: int, torn: int, save: bool) -> None:
    """One life: `count` events are written, then `torn` bytes of the next one, and the place perhaps saved before."""
    had = load(file, "task:t", mode)
    place = had or Place("task:t", mode, "earliest")
    first = Position.parse(place.position).offsets.get(0, -1) + 1
    fd = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        if mode == "json":
            if had is not None:
                cut_surplus(place, fd)
            form: Raw | Json = Json()
            sink = Sink(fd, form, place, file)
        else:
            trimmer = trimmer_of(place, fd)
            form = Raw(trimmer, lambda text: None)
            sink = Sink(fd, form, place, file, trimmer)
        sink.begin()
        rest = events[first:]
        # Positions that other partitions moved on: in another life they are others.
        sink.write(rest[:count])
        if save:
            sink.write([Moved(Position("k", {0: first + min(count, len(rest)) - 1, 9: count}))])
            sink.save()
        if count < len(rest):
            os.write(fd, form.show(rest[count])[:torn])
    finally:
        os.close(fd)


@given(outputs, lives)
@settings(max_examples=60, deadline=None)
def test_raw_output_has_each_byte_once(pieces: list[tuple[str, bytes]], killed: list[tuple[int, int, bool]]) -> None:
    events = events_of(pieces)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "place", Path(folder) / "out"
        out.write_bytes(b"before")
        for count, torn, save in killed:
            live(file, out, "raw", events, count, torn, save)
        live(file, out, "raw", events, len(events), 0, save=True)
        assert out.read_bytes() == b"before" + b"".join(raw for _, raw in pieces)


@given(outputs, lives)
@settings(max_examples=60, deadline=None)
def test_lines_are_there_once_and_whole(pieces: list[tuple[str, bytes]], killed: list[tuple[int, int, bool]]) -> None:
    events = events_of(pieces)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "place", Path(folder) / "out"
        for count, torn, save in killed:
            live(file, out, "json", events, count, torn, save)
        live(file, out, "json", events, len(events), 0, save=True)
        assert out.read_bytes() == b"".join(Json().show(event) for event in events)
