"""What a client sends, taken apart: messages whole and in pieces, what is no message, and what is said to it."""

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.web.client_frames import Came, ClientFrames, Read

MOST = 1_000


def sent(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


def closed_with(answers: bytes) -> Close | None:
    client = Protocol(Side.CLIENT, state=State.OPEN)
    client.receive_data(answers)
    return client.close_rcvd


def test_messages_and_what_is_none_come_in_the_order_of_their_sending() -> None:
    frames = ClientFrames.anew(MOST)
    came = frames.take(
        sent(
            Frame(Opcode.TEXT, "é".encode()[:1], fin=False),
            Frame(Opcode.PING, b"p"),
            Frame(Opcode.CONT, b"", fin=False),
            Frame(Opcode.CONT, "é".encode()[1:]),
            Frame(Opcode.PONG, b""),
            Frame(Opcode.BINARY, b"\xff", fin=False),
            Frame(Opcode.CONT, b"\xfe"),
            Frame(Opcode.TEXT, b"whole"),
        )
    )
    assert [*came] == [Came.PING, Came.PIECE, "é", Came.PONG, b"\xff\xfe", "whole"]
    assert frames.answers() == Frame(Opcode.PONG, b"p").serialize(mask=False)
    assert frames.answers() == b""


def test_it_is_empty_where_what_came_was_whole_and_only_the_first_time() -> None:
    def is_empty_behind(*parts: bytes) -> bool:
        frames = ClientFrames.anew(MOST)
        for part in parts:
            list(frames.take(part))
        frames.drop()
        return frames.is_empty

    ping = sent(Frame(Opcode.PING, b"p"))
    assert is_empty_behind(ping + sent(Frame(Opcode.TEXT, b"whole")))
    assert not is_empty_behind(ping[:-1])
    assert not is_empty_behind(ping + ping[:-1])
    assert not is_empty_behind(sent(Frame(Opcode.TEXT, b"a", fin=False)))
    assert not is_empty_behind(ping[:3], ping[3:])


def test_what_was_read_before_goes_on() -> None:
    protocol = Protocol(Side.SERVER, state=State.OPEN)
    piece = sent(Frame(Opcode.CONT, b"rest"))
    protocol.receive_data(sent(Frame(Opcode.TEXT, b"the ", fin=False)) + piece[:3])
    protocol.events_received()
    frames = ClientFrames(Read(protocol, ["heard"], [b"the "], is_text=True))
    assert [*frames.take(piece[3:])] == ["the rest"]
    assert not frames.is_empty


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (sent(Frame(Opcode.TEXT, b"\xff")), 1007),
        (sent(Frame(Opcode.TEXT, b"\xff", fin=False), Frame(Opcode.CONT, b"")), 1007),
        (sent(Frame(Opcode.TEXT, b"x" * (MOST + 1))), 1009),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
    # Named, as each process masks by its own chance.
    ids=["not UTF-8", "not UTF-8 in pieces", "too long", "no frame"],
)
def test_what_breaks_the_rules_is_answered_with_a_close(data: bytes, code: int) -> None:
    frames = ClientFrames.anew(MOST)
    assert [*frames.take(data)][-1] is Came.BROKEN
    close = closed_with(frames.answers())
    assert close is not None
    assert close.code == code


def test_a_close_is_answered_once() -> None:
    frames = ClientFrames.anew(MOST)
    close = Close(1000, "bye").serialize()
    assert [*frames.take(sent(Frame(Opcode.TEXT, b"last"), Frame(Opcode.CLOSE, close)))] == ["last", Came.CLOSE]
    frames.close(1001, "a second time")
    assert closed_with(frames.answers()) == Close(1000, "bye")
    frames = ClientFrames.anew(MOST)
    frames.close(1001, "first")
    assert closed_with(frames.answers()) == Close(1001, "first")
    frames.close(1011)
    assert frames.answers() == b""
    frames.forget_pieces()
    late = sent(Frame(Opcode.TEXT, b"\xff"), Frame(Opcode.CLOSE, close))
    assert [*frames.take(late)] == [Came.CLOSE]
    assert frames.answers() == b"", "its answer to ours"


def test_pieces_that_are_of_no_interest_are_not_kept() -> None:
    frames = ClientFrames.anew(MOST)
    assert [*frames.take(sent(Frame(Opcode.TEXT, b"a", fin=False)))] == []
    frames.forget_pieces()
    rest = sent(Frame(Opcode.CONT, b"b", fin=False), Frame(Opcode.CONT, b"c"), Frame(Opcode.TEXT, b"next"))
    assert [*frames.take(rest)] == [Came.PIECE, "next"]
