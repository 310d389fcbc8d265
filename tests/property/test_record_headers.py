"""Whatever headers a record has, and in whatever order: it is read as by their names alone."""

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st
from lastseen.record import VERSION, encode

from service.domain import records
from service.domain.errors import Unreadable
from service.domain.records import RawRecord, Record
from tests.raw import Raw, task_event

NAMES = ("v", "id", "ch", "type", "ttl", "x", "other")
VALUES = (
    None, b"", VERSION, b"2", b"e-1", b"a" * 128, b"a" * 129, b"a b", b"a\n", b"\xff", b"task:t", b"task:t,project:p",
    b"task:a,task:b", b"task_output", b"Task", b"5", b"-5", b"\0missing",
)  # fmt: skip
GOOD = [*encode(task_event()).headers]
headers = st.one_of(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=7),
    st.tuples(st.permutations(GOOD), st.integers(0, 3), st.sampled_from(VALUES)).map(
        lambda made: [(name, made[2] if at == made[1] else value) for at, (name, value) in enumerate(made[0])]
    ),
)


def outcome(read: Callable[[RawRecord], Record], raw: RawRecord) -> object:
    try:
        return read(raw)
    except Unreadable as error:
        return (error.reason, str(error), error.channels)


@given(headers)
@example(GOOD)
def test_a_record_is_read_by_the_names_of_its_headers(given_headers: list[tuple[str, bytes | None]]) -> None:
    raw = Raw(0, 7, encode(task_event()).value, given_headers)
    by_name = outcome(lambda one: records._read_named(one, dict(one.headers)), raw)
    assert outcome(records.read_record, raw) == by_name
