"""Readers that began at different offsets pass over the same records."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.duplicates import LookBack, Seen, Void
from service.domain.records import Record

ENTRIES = st.lists(
    st.tuples(
        st.integers(1, 3),  # the distance to the offset before: offsets have holes
        st.sampled_from("abcdefgh"),  # id
        st.sampled_from([None, "t", "u"]),  # task
        st.booleans(),  # terminal
    ),
    max_size=60,
)


def log_of(entries: list[tuple[int, str, str | None, bool]]) -> list[Record]:
    offset, log = -1, []
    for step, id_, task, terminal in entries:
        offset += step
        type_ = "task_failed" if terminal else "task_output"
        log.append(Record(0, offset, 0, id_, type_, (f"task:{task}",) if task else ("system",), None, b"{}"))
    return log


def by_definition(log: list[Record], record: Record, size: int) -> Void | None:
    """The rule as the design has it, word for word."""
    before = [other for other in log if record.offset - size <= other.offset < record.offset]
    if any(other.id == record.id for other in before):
        return Void.DUPLICATE
    if record.task is not None and any(other.ended_task == record.task for other in before):
        return Void.FENCED
    return None


@given(ENTRIES, st.integers(1, 12), st.integers(0, 80), st.booleans())
def test_a_reader_that_begins_anywhere_agrees_with_the_definition(
    entries: list[tuple[int, str, str | None, bool]], size: int, begin: int, from_postgres: bool
) -> None:
    log = log_of(entries)
    reader = LookBack(size)
    for record in log:
        if begin - size <= record.offset < begin:
            if from_postgres:
                reader.load(Seen(record.offset, record.id, record.ended_task))
            else:
                reader.judge(record)
    for record in log:
        if record.offset >= begin:
            assert reader.judge(record) == by_definition(log, record, size)


@given(ENTRIES, st.integers(1, 12))
def test_the_first_of_a_duplicate_is_where_it_was_first_seen(
    entries: list[tuple[int, str, str | None, bool]], size: int
) -> None:
    log = log_of(entries)
    reader = LookBack(size)
    for record in log:
        recent = [o.offset for o in log if o.id == record.id and record.offset - size <= o.offset < record.offset]
        first = reader.first_of(record.id, record.offset)
        assert (first is not None) == bool(recent)
        if first is not None:
            assert first <= min(recent)
        reader.judge(record)
