"""What is cut into steps to bound memory comes out whole."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.records import Record
from service.node.replay import Page
from service.node.tail import _STEP_BYTES, _STEP_RECORDS, _steps
from tests.raw import Raw


@given(st.lists(st.sampled_from([0, 100, _STEP_BYTES // 3, _STEP_BYTES, 2 * _STEP_BYTES]), max_size=30))
def test_a_batch_is_cut_at_its_bytes(sizes: list[int]) -> None:
    records = [Raw(0, offset, b"x" * size) for offset, size in enumerate(sizes)]
    ends = list(_steps(records))
    assert ends[-1] == len(records)
    assert ends == sorted(set(ends))
    for begin, end in zip([0, *ends], ends, strict=False):
        assert sum(sizes[begin : end - 1]) < _STEP_BYTES, "a step goes on behind the record that fills it"


def test_a_batch_is_cut_at_its_records() -> None:
    records = [Raw(0, offset, b"x") for offset in range(2 * _STEP_RECORDS + 1)]
    assert list(_steps(records)) == [_STEP_RECORDS, 2 * _STEP_RECORDS, 2 * _STEP_RECORDS + 1]


PLACES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), unique=True, max_size=20).map(sorted)


@given(PLACES, st.integers(1, 100), st.integers(1, 200))
def test_a_page_is_cut_without_losing_its_place(places: list[tuple[int, int]], size: int, max_bytes: int) -> None:
    records = [Record(p, o, 0, "i", "x", ("system",), None, b"x" * size) for p, o in places]
    page = Page(records, dict.fromkeys(range(3), 99))
    cursor = dict.fromkeys(range(3), -1)
    found: list[Record] = []
    for part in page.slices(max_bytes):
        assert sum(len(r.value) for r in part.records[:-1]) < max_bytes
        for record in part.records:
            assert record.offset > cursor[record.partition]
        found += part.records
        cursor |= part.served
        for record in records[len(found) :]:
            assert record.offset > cursor[record.partition] or len(found) == len(records)
    assert found == records
    assert cursor == dict.fromkeys(range(3), 99)
