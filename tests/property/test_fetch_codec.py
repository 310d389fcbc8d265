"""Fetch requests and answers: packed and unpacked in one go, they are what aiokafka's own schemas make of them."""

from io import BytesIO
from typing import Any

from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.kafka.lean import decode, encode

INT8, INT16, INT32, INT64 = (st.integers(-(2**bits), 2**bits - 1) for bits in (7, 15, 31, 63))
NAMES = st.text(max_size=20)


def by_schema(struct: Any) -> bytes:
    encoded: bytes = struct.SCHEMA.encode([struct.__dict__[name] for name in struct.SCHEMA.names])
    return encoded


@given(
    st.tuples(INT32, INT32, INT32, INT32, INT8, INT32, INT32),
    st.lists(st.tuples(NAMES, st.lists(st.tuples(INT32, INT32, INT64, INT64, INT32), max_size=5)), max_size=3),
    st.lists(st.tuples(NAMES, st.lists(INT32, max_size=3)), max_size=1),
    NAMES,
)
def test_a_request(
    head: tuple[int, ...], topics: list[tuple[str, Any]], forgotten: list[tuple[str, list[int]]], rack: str
) -> None:
    request = FetchRequest_v11(*head, topics, forgotten, rack)
    assert encode(request) == by_schema(request)


PARTITIONS = st.tuples(
    INT32,
    INT16,
    INT64,
    INT64,
    INT64,
    st.none() | st.lists(st.tuples(INT64, INT64), max_size=3),
    INT32,
    st.none() | st.binary(max_size=100),
)


@given(
    st.tuples(INT32, INT16, INT32),
    st.lists(st.tuples(NAMES, st.lists(PARTITIONS, max_size=5)), max_size=3),
    st.binary(max_size=8),
)
def test_an_answer(head: tuple[int, int, int], topics: list[tuple[str, Any]], before: bytes) -> None:
    encoded = by_schema(FetchResponse_v11(*head, topics))
    data, same = BytesIO(before + encoded), BytesIO(encoded)
    data.seek(len(before))
    found = decode(FetchResponse_v11, data)
    assert (found.throttle_time_ms, found.error_code, found.session_id) == head
    assert found.topics == [field.decode(same) for field in FetchResponse_v11.SCHEMA.fields][-1]
