import json

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from service.domain.frames import event_payload, payloads, replay_frame, text_frame
from service.domain.records import read_record
from tests.raw import raw_of, task_event


@given(st.lists(st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]), max_size=4))
def test_frames_are_read_by_an_independent_client(sizes: list[int]) -> None:
    sent = [b"x" * size for size in sizes]
    stream = b"".join(text_frame(payload) for payload in sent)
    assert list(payloads(stream)) == sent
    client = Protocol(CLIENT, state=OPEN)
    client.receive_data(stream)
    received = client.events_received()
    assert [bytes(frame.data) for frame in received] == sent  # type: ignore[union-attr]
    assert all(frame.opcode is Opcode.TEXT for frame in received)  # type: ignore[union-attr]


def test_the_place_is_spliced_in_last() -> None:
    event = task_event(data={"partition": "mine", "offset": "mine"})
    body = json.loads(event_payload(read_record(raw_of(3, 1523, event))))
    assert (body["partition"], body["offset"]) == (3, 1523)
    assert list(body)[-2:] == ["partition", "offset"]
    assert body["data"] == {"partition": "mine", "offset": "mine"}


def test_a_replayed_event_says_for_whom_it_counts() -> None:
    frame = replay_frame(read_record(raw_of(3, 5, task_event())), ["task:t"])
    (payload,) = payloads(frame)
    body = json.loads(payload)
    assert body["replay"] == ["task:t"]
    assert list(body)[-2:] == ["partition", "offset"]
