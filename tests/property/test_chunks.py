"""Whatever a program writes, however it comes in pieces and whenever the linger ends: the chunks are its bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lastseen.chunks import MAX_CHUNK_BYTES, Chunk, Chunker, read_chunk
from lastseen.envelope import Event

pieces = st.lists(
    st.one_of(
        st.text(max_size=20).map(str.encode),
        st.binary(max_size=20),
        st.sampled_from(["é", "日本", "🎉", "\0", "e"]).map(str.encode),
        st.tuples(st.binary(min_size=1, max_size=3), st.integers(1, 9000)).map(lambda pair: pair[0] * pair[1]),
    ),
    max_size=12,
)


def chunks_of(fed: list[bytes], flushes: list[bool]) -> list[Chunk]:
    chunker = Chunker("stdout")
    chunks: list[Chunk] = []
    for index, data in enumerate(fed):
        chunks += chunker.feed(data)
        if flushes and flushes[index % len(flushes)]:
            chunks += chunker.flush()
            assert not chunker.is_waiting
    return chunks + chunker.finish()


@given(pieces, st.lists(st.booleans(), max_size=5))
@example(["🎉".encode() * 5000], [False])
def test_joined_the_chunks_are_the_bytes(fed: list[bytes], flushes: list[bool]) -> None:
    whole = b"".join(fed)
    joined = b""
    for chunk in chunks_of(fed, flushes):
        assert chunk.offset == len(joined)
        assert 0 < len(chunk.raw) <= MAX_CHUNK_BYTES
        assert read_chunk(chunk.to_data()) == chunk
        joined += chunk.raw
    assert joined == whole


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.data())
def test_text_stays_text_wherever_it_is_cut(text: str, data: st.DataObject) -> None:
    whole = text.encode() * 3
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    fed = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    chunks = chunks_of(fed, [True])
    assert all("text" in chunk.to_data() for chunk in chunks)
    assert "".join(str(chunk.to_data()["text"]) for chunk in chunks) == whole.decode()


@given(pieces)
def test_every_chunk_fits_into_an_event(fed: list[bytes]) -> None:
    for chunk in chunks_of(fed, [False]):
        event = Event(type="task_output", category="task", task_id="t", data=chunk.to_data())
        assert len(event.to_json()) < 256 * 1024


def test_the_worst_text_fits_into_an_event() -> None:
    (chunk,) = Chunker("stdout").feed(b"\x01" * MAX_CHUNK_BYTES)
    event = Event(type="task_output", category="task", task_id="t", data=chunk.to_data())
    assert "text" in event.data
    assert len(event.to_json()) < 256 * 1024


def test_an_unfinished_character_waits_and_goes_as_bytes_in_the_end() -> None:
    chunker = Chunker("stderr")
    assert chunker.feed(b"a\xe2\x82") == []
    assert chunker.flush() == [Chunk("stderr", 0, b"a")]
    assert not chunker.is_waiting
    assert chunker.flush() == []
    assert [chunk.to_data() for chunk in chunker.finish()] == [
        {"stream": "stderr", "offset": 1, "bytes": 2, "base64": "4oI="}
    ]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"stream": "stdout", "offset": 0},
        {"stream": "stdout", "offset": -1, "text": "a"},
        {"stream": 1, "offset": 0, "text": "a"},
        {"stream": "stdout", "offset": 0, "bytes": 2, "text": "a"},
        {"stream": "stdout", "offset": 0, "base64": "not base64!"},
    ],
)
def test_what_is_no_chunk_says_so(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"task_output|base64|Only|padding"):
        read_chunk(data)
