"""What is read without the library's protocol is what that would have read."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.web.plain_frame import plain_text, wire_size

MOST = 70_000
PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=60).map(str.encode),
    st.sampled_from([125, 126, 127, 65_535, 65_536, MOST, MOST + 1]).map(lambda size: b"x" * size),
)
FRAMES = st.one_of(
    st.builds(Frame, st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]), PAYLOADS),
    st.builds(Frame, st.just(Opcode.PING), st.binary(max_size=125)),
)


def by_the_library(data: bytes) -> list[Frame]:
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=MOST)
    protocol.receive_data(data)
    return [event for event in protocol.events_received() if isinstance(event, Frame)]


def agree(data: bytes) -> str | None:
    text = plain_text(data, MOST)
    if text is not None:
        (frame,) = by_the_library(data)
        assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, text.encode())
        assert wire_size(len(frame.data)) == len(data)
    return text


def decoded(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


@given(PAYLOADS)
def test_a_text_that_came_whole_and_alone(payload: bytes) -> None:
    text = agree(Frame(Opcode.TEXT, payload).serialize(mask=True))
    assert text == (decoded(payload) if len(payload) < 65_536 else None)


@given(st.lists(FRAMES, max_size=3), st.booleans(), st.data())
def test_anything_else(frames: list[Frame], mask: bool, data: st.DataObject) -> None:
    sent = b"".join(frame.serialize(mask=mask) for frame in frames)
    at = data.draw(st.integers(0, min(len(sent), 8)))
    changed = sent[:at] + data.draw(st.binary(max_size=2)) + sent[at + data.draw(st.integers(0, 2)) :]
    for said in (sent, changed, sent[:-1], sent + b"\x81"):
        if mask or said is not sent:
            agree(said)
    if frames and not mask:
        assert plain_text(sent, MOST) is None, "a client masks what it sends"
