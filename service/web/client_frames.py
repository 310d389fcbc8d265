"""What a client sends, taken apart by the library's protocol: bytes in, messages out, and what is no message."""

import logging
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from lastseen import close_codes
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.web.plain_frame import wire_size

_log = logging.getLogger(__name__)
# At DEBUG the library writes what clients say, and with it their tokens.
_log.setLevel(logging.WARNING)


class Read(NamedTuple):
    """What was read behind a hand-shake before its conversation began: by what, messages, and pieces of another."""

    protocol: Protocol
    heard: Sequence[str | bytes]
    pieces: Sequence[bytes]
    is_text: bool


class Came(Enum):
    """What is no message."""

    PIECE = auto()
    """Of a message, neither its first nor its last."""
    PING = auto()
    """Its answer is in `ClientFrames.answers`."""
    PONG = auto()
    CLOSE = auto()
    """Of the client: it is answered in `answers`, or was the answer."""
    BROKEN = auto()
    """Nothing that follows can be read; `answers` says why."""


class ClientFrames:
    """One client's. What is to be said to it, be it in answer or its close, waits until `answers` takes it."""

    __slots__ = ("_is_text", "_is_used", "_pieces", "_protocol", "is_empty")

    def __init__(self, read: Read) -> None:
        """Go on behind what was read; the messages are somebody else's."""
        self._protocol = read.protocol
        self._pieces: list[bytes] | None = list(read.pieces) or None
        self._is_text = read.is_text
        self._is_used = True
        self.is_empty = False
        """Whether nothing has come but what is out again: another may take its place."""

    @classmethod
    def anew(cls, max_size: int) -> "ClientFrames":
        """Behind a hand-shake; messages have at most so many bytes."""
        frames = cls(
            Read(Protocol(Side.SERVER, state=State.OPEN, max_size=max_size, logger=_log), (), (), is_text=False)
        )
        frames._is_used = False
        return frames

    def take(self, data: bytes) -> Iterator[str | bytes | Came]:
        """What has come with these bytes, one by one; behind CLOSE and BROKEN there is nothing."""
        protocol = self._protocol
        was_used, self._is_used = self._is_used, True
        protocol.receive_data(data)
        if protocol.parser_exc is not None:
            yield Came.BROKEN
            return
        taken = 0
        for event in protocol.events_received():
            if isinstance(event, Frame):
                taken += wire_size(len(event.data))
                came = self._read(event)
                if came is not None:
                    yield came
        self.is_empty = not was_used and taken == len(data) and self._pieces is None

    def answers(self) -> bytes:
        """What is to be said since this was asked last."""
        return b"".join(self._protocol.data_to_send())

    def close(self, code: int, reason: str = "") -> None:
        """Say that it is over, unless that has been said, or has been answered to the client."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)

    def forget_pieces(self) -> None:
        """What has come of a message is of no interest any more."""
        self._pieces = None

    def drop(self) -> None:
        """Let go of it."""
        # What refers to it, its parser and what went wrong there: else all would wait for the collector.
        self._protocol.parser.close()
        self._protocol.parser_exc = None

    def _read(self, frame: Frame) -> str | bytes | Came | None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._is_text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    return self._message(bytes(frame.data))
                self._pieces = [bytes(frame.data)]
                return None
            case Opcode.CONT:
                return self._go_on(frame)
            case Opcode.PING:
                return Came.PING
            case Opcode.PONG:
                return Came.PONG
            case _:
                return Came.CLOSE

    def _go_on(self, frame: Frame) -> str | bytes | Came | None:
        if self._pieces is not None:
            self._pieces.append(bytes(frame.data))
        if not frame.fin:
            return Came.PIECE
        pieces, self._pieces = self._pieces, None
        return None if pieces is None else self._message(b"".join(pieces))

    def _message(self, data: bytes) -> str | bytes | Came | None:
        if not self._is_text:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            if self._protocol.state is not State.OPEN:
                return None  # one side has closed: it is of no interest
            self.close(close_codes.NOT_UTF8)
            return Came.BROKEN
