"""A WebSocket over the server's own transport: ready frames are written as they are, and nothing of ASGI is in between.

It is driven by calls. Beside it there is something only while it is needed: `Acting` while it begins, or something is
awaited for a message of the client, `ClientFrames` where what comes is more than a plain message. It is long because it
is one state: what comes, what is said and the end all turn on the same few flags.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, MutableSet
from functools import partial
from typing import Any, Final

from lastseen import close_codes

from service.domain.limits import Guest
from service.domain.protocol import GOODBYES, Input
from service.node.connection import Connection
from service.node.opening import open_at_once, open_conversation
from service.web.acting import Acting, Work
from service.web.admission import Admitted, Caller, Refusal
from service.web.client_frames import Came, ClientFrames, Read
from service.web.dropping import drop_in
from service.web.frame_allowance import FrameAllowance
from service.web.host import Host
from service.web.plain_frame import plain_text

_log = logging.getLogger(__name__)
_LAST_WORDS_SECONDS: Final = 5.0
"""How long what is written may take to leave once the conversation has ended."""
_SHUTDOWN_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 1.0
"""How long what still comes of a client is thrown away, for it to see why."""
_PART: Final = 4096
_READ_AFTER_CLOSE: Final = 256 * 1024
"""Bytes behind which the answer to a close may come; after more of them it is not waited for."""
_UNREAD_ANSWERS: Final = 64 * 1024
"""Bytes that wait in the transport at which pings are not answered any more."""


class DirectSocket(asyncio.Protocol):
    """One client's, from the answer to its hand-shake to the end; to the node, what carries its connection.

    `members` and `tasks` are the server's, of which it is one, and of whose its task is one, while they last.
    """

    __slots__ = (
        "_acting",
        "_allowance",
        "_connection",
        "_dropping",
        "_fd",
        "_frames",
        "_guest",
        "_has_acted",
        "_host",
        "_is_closed",
        "_is_over",
        "_is_paused",
        "_loop",
        "_members",
        "_read_after_close",
        "_tasks",
        "_transport",
    )

    def __init__(self, host: Host, members: MutableSet[Any], tasks: MutableSet[asyncio.Task[None]]) -> None:
        self._host = host
        self._members = members
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._frames: ClientFrames | None = None
        """Made when what comes is not plain, or something is to be said beside frames."""
        self._allowance: FrameAllowance | None = None
        self._connection: Connection | None = None
        self._guest: Guest | None = None
        self._acting: Acting | None = None
        self._has_acted = False
        """Whether a message was acted on in this step of the event loop: the next of what has come waits."""
        self._is_paused = False
        self._is_closed = False
        """Whether the last word has been said."""
        self._is_over = False
        """Whether what comes is of no interest any more."""
        self._read_after_close = 0
        self._dropping: asyncio.TimerHandle | None = None
        self._fd = -1

    # The beginning.

    def begin(
        self,
        transport: asyncio.Transport,
        caller: Caller,
        *,
        in_turn: bool,
        answer: bytes = b"",
        admitted: Admitted | None = None,
        read: Read | None = None,
    ) -> None:
        """Take over a transport whose hand-shake has been answered, or is by these bytes, and run the conversation.

        `in_turn`: it has had its turn among others that begin. `admitted`, where it is known who it is.
        """
        self._transport = transport
        self._fd = _descriptor_of(transport)
        self._members.add(self)
        low_water = self._host.node.services.low_water
        # One mark: between two the transport would say nothing to who waits for the lower.
        transport.set_write_buffer_limits(high=low_water, low=low_water)
        transport.set_protocol(self)
        if read is not None:
            self._frames = ClientFrames(read)
            if read.heard:
                self._pause()
        if admitted is not None:
            self._guest = admitted.guest
        elif in_turn and self._begin_at_once(caller, answer):
            return
        elif answer:
            transport.write(answer)
        self._do(partial(self._converse, caller, admitted, in_turn=in_turn), () if read is None else read.heard)

    def _begin_at_once(self, caller: Caller, answer: bytes) -> bool:
        """Identify and greet without waiting for anything: the answer to the hand-shake goes with it, in one write.

        False, and nothing done, where something has to be awaited to know who it is.
        """
        try:
            known = self._host.admit_at_once(caller)
            if known is None:
                return False
            connection = self._connect(known, answer)
            if connection is not None:
                query = caller.query
                with connection.flow.together(answer):
                    is_open = open_at_once(
                        connection, query.get("project_id"), query.get("after"), query.get("client_id")
                    )
                if not is_open:
                    self._do(partial(self._open, connection, caller))
        except Exception:  # noqa: BLE001 - as in `Acting`
            self.failed()
        return True

    async def _converse(self, caller: Caller, known: Admitted | None, *, in_turn: bool) -> None:
        """Identify and greet."""
        connection = self._connect(known or await self._host.admit(caller))
        if connection is None:
            return
        # Of a crowd that comes at once a few at a time, and what others are owed in between.
        if not in_turn:
            await self._host.node.services.pace.turn()
        await self._open(connection, caller)

    def _connect(self, admitted: Admitted | Refusal, answer: bytes = b"") -> Connection | None:
        """A connection for who is let in; else the last word, behind the answer to the hand-shake, if that is due."""
        if isinstance(admitted, Admitted):
            self._guest = admitted.guest
            self._connection = self._host.node.connect(self, admitted.identity)
            if self._connection is not None:
                return self._connection
            admitted = Refusal(close_codes.TOO_MANY, "Too many connections")
        if answer:
            self._transport.write(answer)
        self.close(*admitted)
        return None

    async def _open(self, connection: Connection, caller: Caller) -> None:
        query = caller.query
        await open_conversation(connection, query.get("project_id"), query.get("after"), query.get("client_id"))

    # What the client says.

    def data_received(self, data: bytes) -> None:
        """Take what came, until it has become too much."""
        self._has_acted = False
        if self._frames is None and not self._is_closed and not self._transport.is_closing():
            text = plain_text(data, self._host.max_message_bytes)
            if text is not None:
                self._hear(text)
                return
        # In parts: of some bytes thousands of frames can be made, and what follows a close need not be read.
        for at in range(0, len(data), _PART):
            if self._transport.is_closing():
                return
            if self._is_closed:
                self._read_after_close += _PART
                if self._read_after_close > _READ_AFTER_CLOSE:
                    self._transport.pause_reading()
                    self._drop_in(_SHUTDOWN_SECONDS)
                    return
            if not self._is_over:
                self._take(data[at : at + _PART])

    def _take(self, data: bytes) -> None:
        frames = self._with_frames()
        for came in frames.take(data):
            if isinstance(came, Came):
                self._answer(came, frames)
            else:
                self._hear(came)
            if self._is_over:
                return
        if frames.is_empty and not self._is_closed:
            # That a client now and then pings is no reason to keep it.
            self._drop_frames()

    def _answer(self, came: Came, frames: ClientFrames) -> None:
        match came:
            case Came.PIECE | Came.PONG:
                # This server sends no pings of this kind.
                self._may_still_come(frames)
            case Came.PING:
                # Unless the client lets the answers pile up: then only later ones are answered.
                answer = frames.answers()
                if self._may_still_come(frames) and self._transport.get_write_buffer_size() < _UNREAD_ANSWERS:
                    self._write(answer)
            case Came.BROKEN:
                self._break_off(frames)
            case Came.CLOSE:
                self._closed_by_client(frames)

    def _may_still_come(self, frames: ClientFrames) -> bool:
        """Whether one more frame that is no message, nor the end of one, may come; else the conversation ends."""
        if self._is_closed or self._transport.is_closing():
            return False
        if self._allowance is None:
            self._allowance = FrameAllowance()
        if self._allowance.take(self._loop.time()):
            return True
        frames.close(*GOODBYES[Input.LIMIT_PASSED])
        self._break_off(frames)
        return False

    def _hear(self, said: str | bytes) -> None:
        """A message has come: it is acted on when those before it have been."""
        if self._is_closed:
            return
        acting, connection = self._acting, self._connection
        # One that has just ended is told of in the next step.
        if acting is not None and not acting.is_done:
            acting.hear(said)
            self._pause()
        elif connection is not None and not self._has_acted:
            self._has_acted = True
            self._act_at_once(connection, said)
        else:
            self._pause()
            self._do(heard=(said,))

    def _act_at_once(self, connection: Connection, said: str | bytes) -> None:
        """Act on a message, in a task if something has to be awaited for it; further messages wait then."""
        try:
            rest = connection.receive_at_once(said) if self._may_say(connection, said) else None
        except Exception:  # noqa: BLE001 - as in `Acting`
            self.failed()
            return
        if rest is not None:
            self._do(rest)

    def _may_say(self, connection: Connection, said: str | bytes) -> bool:
        """Whether it is not too much; else it has ended the conversation."""
        if self._guest is not None and self._guest.message(time.monotonic(), len(said)):
            return True
        connection.end(Input.LIMIT_PASSED)
        return False

    def _do(self, work: Work | None = None, heard: Iterable[str | bytes] = ()) -> None:
        self._acting = Acting(self, self._tasks, work, heard)

    async def act_on(self, said: str | bytes) -> None:
        """Act on a message."""
        connection = self._connection
        if connection is not None and self._may_say(connection, said):
            await connection.receive(said)

    def failed(self) -> None:
        """End the conversation: an exception is being handled."""
        connection = self._connection
        _log.exception("connection %s failed", "that begins" if connection is None else connection.id)
        if connection is None:
            self.close(*GOODBYES[Input.FAULT])
        else:
            connection.end(Input.FAULT)

    def acted(self, acting: Acting) -> None:
        """Nothing is awaited any more."""
        if self._acting is acting:
            self._acting = None

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read what comes, if that had to wait."""
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    # What is said to the client: the port of its connection.

    def write(self, frames: bytes) -> None:
        """Hand ready frames to the transport."""
        if not self._is_closed and not self._transport.is_closing():
            self._write(frames)

    def descriptor(self) -> int:
        """The socket's, while nothing waits in the transport."""
        transport = self._transport
        if self._is_closed or transport.is_closing() or transport.get_write_buffer_size():
            return -1
        return self._fd

    def _write(self, data: bytes) -> None:
        self._wait()
        self._transport.write(data)

    def _wait(self) -> None:
        """From here on nothing is sent past the transport, until the descriptor is asked for again."""
        if self._connection is not None:
            self._connection.waits()

    def buffered(self) -> int:
        """Bytes that wait in the transport."""
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Close behind what was written; the client has a while to take it, and to answer."""
        if self._is_closed or self._is_over or self._transport.is_closing():
            return
        frames = self._with_frames()
        frames.close(code, reason)
        self._write(frames.answers())
        self._is_closed = True
        self._drop_in(_LAST_WORDS_SECONDS)
        self._end()
        self.read_on()

    def abort(self) -> None:
        """Drop what waits in the transport, and the connection."""
        self._wait()
        self._transport.abort()

    def pause_writing(self) -> None:
        """More waits than the mark: the connection asks for itself."""

    def resume_writing(self) -> None:
        """The buffer has fallen to the mark."""
        if self._connection is not None:
            self._connection.drained()

    def _with_frames(self) -> ClientFrames:
        if self._frames is None:
            self._frames = ClientFrames.anew(self._host.max_message_bytes)
        return self._frames

    def _drop_frames(self) -> None:
        if self._frames is not None:
            self._frames.drop()
            self._frames = None

    # The end.

    def _closed_by_client(self, frames: ClientFrames) -> None:
        """Its close is answered, or was the answer."""
        if not self._is_closed:
            self._write(frames.answers())
            self._is_closed = True
        self._is_over = True
        self._end()
        self._transport.close()
        self._drop_in(_LAST_WORDS_SECONDS)

    def _break_off(self, frames: ClientFrames) -> None:
        """Close behind what breaks the protocol, so that the client sees the code though it is still sending.

        A socket that is closed with something unread in it is reset, and what was said last is lost with it.
        """
        self._write(frames.answers())
        self._is_closed = self._is_over = True
        self._end()
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self.read_on()
            self._drop_in(_LINGER_SECONDS)
        else:
            self._transport.close()
            self._drop_in(_LAST_WORDS_SECONDS)

    def eof_received(self) -> None:
        """Nothing more will come: so nothing more is sent either."""
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._is_closed = self._is_over = True
        self._members.discard(self)
        if self._dropping is not None:
            self._dropping.cancel()
            self._dropping = None
        self._drop_frames()
        self._stop_acting()
        self._leave()

    def shutdown(self) -> None:
        """The process is about to end."""
        self.close(*GOODBYES[Input.GOING_AWAY])
        self._drop_in(_SHUTDOWN_SECONDS)

    def _stop_acting(self) -> None:
        if self._frames is not None:
            self._frames.forget_pieces()
        if self._acting is not None:
            self._acting.stop()

    def _end(self) -> None:
        """Nothing more is acted on, and nothing more is due to the client."""
        self._stop_acting()
        # Not in this step: whoever ends connections may be going through all of them.
        self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        """Give the connection and its place back."""
        connection, self._connection = self._connection, None
        guest, self._guest = self._guest, None
        if connection is not None:
            connection.gone()
            self._host.node.disconnect(connection)
        if guest is not None:
            guest.leave()

    def _drop_in(self, seconds: float) -> None:
        self._dropping = drop_in(seconds, self._transport.abort, self._dropping, self._loop)


def _descriptor_of(transport: asyncio.Transport) -> int:
    """That of the socket of which a transport writes to what it is given, as it is; -1 where there is none."""
    socket = transport.get_extra_info("socket")
    if socket is None or transport.get_extra_info("sslcontext") is not None or sys.platform == "win32":
        return -1
    return int(socket.fileno())
