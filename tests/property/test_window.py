"""The window against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.records import Record
from service.domain.window import Window

CHANNELS = ["task:a", "task:b", "project:p", "user:u", "system"]
APPENDS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(1, 3), st.sets(st.sampled_from(CHANNELS), min_size=1), st.integers(2, 300)
    ),
    max_size=120,
)


@given(
    APPENDS,
    st.integers(0, 20_000),
    st.lists(
        st.tuples(st.integers(0, 2), st.sets(st.sampled_from(CHANNELS)), st.integers(-1, 100), st.integers(1, 9)),
        max_size=10,
    ),
    st.integers(1, 1000),
)
def test_what_it_holds_it_holds_whole(
    appends: list[tuple[int, int, set[str], int]],
    max_bytes: int,
    reads: list[tuple[int, set[str], int, int]],
    page_bytes: int,
) -> None:
    window = Window(dict.fromkeys(range(3), 0), max_bytes)
    log: list[Record] = []
    offsets = dict.fromkeys(range(3), -1)
    for partition, step, channels, size in appends:
        offsets[partition] += step
        record = Record(partition, offsets[partition], 0, "i", "x", tuple(sorted(channels)), None, b"x" * size)
        log.append(record)
        window.append(record)
        assert window.bytes <= max_bytes
        assert window.next(partition) == record.offset + 1
    assert window.heads() == offsets
    for partition, wanted, above, limit in reads:
        after = max(above, window.first(partition) - 1)
        page = window.read(sorted(wanted), partition, after, limit, page_bytes)
        matching = [r for r in log if r.partition == partition and r.offset > after and wanted & set(r.channels)]
        taken = 0
        while taken < min(limit, len(matching)) and sum(len(r.value) for r in matching[:taken]) < page_bytes:
            taken += 1
        assert list(page.records) == matching[:taken]
        if taken == limit or sum(len(r.value) for r in matching[:taken]) >= page_bytes:
            assert page.served == page.records[-1].offset
        else:
            assert page.served == max(after, window.next(partition) - 1)
