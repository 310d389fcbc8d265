"""A WebSocket over the server's own transport: ready frames are written as they are, and nothing of ASGI is in between.

It is driven by calls, and has a task only while it begins, or something is awaited for a message of the client. What
comes is taken apart by the library's protocol, which also says what closes and pings are answered with; what a client
may cost is bounded here. It is long because it is one state: what comes, what is said and the end all turn on the same
few flags.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableSet, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from lastseen import close_codes
from starlette.datastructures import Address, Headers
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from service.domain.limits import Guest
from service.domain.protocol import GOODBYES, Input
from service.node.connection import Connection
from service.node.node import Node
from service.node.opening import open_at_once, open_conversation
from service.web.admission import Admitted, Caller, Refusal, admit, admit_at_once
from service.web.door import Door
from service.web.plain_frame import plain_text, wire_size

_log = logging.getLogger(__name__)
_frames_log = logging.getLogger(f"{__name__}.frames")
# At DEBUG the library writes what clients say, and with it their tokens.
_frames_log.setLevel(logging.WARNING)
_LAST_WORDS_SECONDS: Final = 5.0
"""How long what is written may take to leave once the conversation has ended."""
_SHUTDOWN_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 1.0
"""How long what still comes of a client is thrown away, for it to see why."""
_PART: Final = 4096
_READ_AFTER_CLOSE: Final = 256 * 1024
"""Bytes behind which the answer to a close may come; after more of them it is not waited for."""
_FRAMES_PER_SECOND: Final = 50
_FRAMES_AT_ONCE: Final = 1000
"""Pings, pongs and pieces of messages that a client may send, in the long run and at once."""
_UNREAD_ANSWERS: Final = 64 * 1024
"""Bytes that wait in the transport at which pings are not answered any more."""


class Host(NamedTuple):
    """What the conversations of a server share.

    `client_of` says where a client is, by the headers of a trusted proxy; without it, it is where it comes from.
    """

    node: Node
    door: Door
    max_message_bytes: int
    client_of: Callable[[Address | None, Headers], Awaitable[Address | None]] | None = None


class Read(NamedTuple):
    """What was read behind a hand-shake before its conversation began: by what, messages, and pieces of another."""

    protocol: Protocol
    heard: Sequence[str | bytes]
    pieces: Sequence[bytes]
    is_text: bool


class DirectSocket(asyncio.Protocol):
    """One client's, from the answer to its hand-shake to the end; to the node, what carries its connection.

    `members` and `tasks` are the server's, of which it is one, and of whose its task is one, while they last.
    """

    __slots__ = (
        "_acting",
        "_connection",
        "_dropping",
        "_fd",
        "_guest",
        "_has_acted",
        "_heard",
        "_host",
        "_is_closed",
        "_is_over",
        "_is_paused",
        "_is_text",
        "_loop",
        "_members",
        "_pieces",
        "_protocol",
        "_quiet_at",
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
        self._protocol: Protocol | None = None
        """Made when what comes is not plain, or something is to be said beside frames."""
        self._connection: Connection | None = None
        self._guest: Guest | None = None
        self._acting: asyncio.Task[None] | None = None
        self._has_acted = False
        """Whether a message was acted on in this step of the event loop: the next of what has come waits."""
        self._heard: deque[str | bytes] | None = None
        """Messages that wait; none is read while there are any."""
        self._pieces: list[bytes] | None = None
        self._is_text = False
        self._is_paused = False
        self._is_closed = False
        """Whether the last word has been said."""
        self._is_over = False
        """Whether what comes is of no interest any more."""
        self._read_after_close = 0
        self._quiet_at = 0.0
        """When the frames that were no messages will have been paid for, by the loop's clock."""
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
            self._protocol, self._is_text = read.protocol, read.is_text
            self._pieces = list(read.pieces) or None
            if read.heard:
                self._heard = deque(read.heard)
                self._pause()
        if admitted is not None:
            self._guest = admitted.guest
        elif in_turn and self._begin_at_once(caller, answer):
            return
        elif answer:
            transport.write(answer)
        self._do(partial(self._converse, caller, admitted, in_turn=in_turn))

    def _begin_at_once(self, caller: Caller, answer: bytes) -> bool:
        """Identify and greet without waiting for anything: the answer to the hand-shake goes with it, in one write.

        False, and nothing done, where something has to be awaited to know who it is.
        """
        try:
            known = None if self._host.client_of is not None else admit_at_once(caller, self._host.door)
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
        except Exception:  # noqa: BLE001 - as in `_run`
            self._failed()
        return True

    async def _converse(self, caller: Caller, known: Admitted | None, *, in_turn: bool) -> None:
        """Identify, greet, and act on what has come meanwhile."""
        connection = self._connect(known or await self._admit(caller))
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
        await self._act(connection)

    async def _admit(self, caller: Caller) -> Admitted | Refusal:
        host = self._host
        if host.client_of is not None:
            caller = caller._replace(client=await host.client_of(caller.client, caller.headers))
        return await admit(caller, host.door)

    # What the client says.

    def data_received(self, data: bytes) -> None:
        """Take what came, until it has become too much."""
        self._has_acted = False
        if self._protocol is None and not self._is_closed and not self._transport.is_closing():
            text = plain_text(data, self._host.max_message_bytes)
            if text is not None:
                self._is_text = True
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
        is_new = self._protocol is None
        protocol = self._frames
        protocol.receive_data(data)
        if protocol.parser_exc is not None:
            self._break_off()
            return
        taken = 0
        for frame in protocol.events_received():
            if isinstance(frame, Frame):
                taken += wire_size(len(frame.data))
                self._take_frame(frame)
            if self._is_over:
                return
        if is_new and taken == len(data) and self._pieces is None and not self._is_closed:
            # Nothing is left in it; that a client now and then pings is no reason to keep it.
            self._drop_protocol()

    def _take_frame(self, frame: Frame) -> None:
        opcode, data = frame.opcode, bytes(frame.data)
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._is_text = opcode is Opcode.TEXT
            if frame.fin:
                self._hear(data)
            else:
                self._pieces = [data]
        elif opcode is Opcode.CONT:
            if (frame.fin or self._may_still_come()) and self._pieces is not None:
                self._pieces.append(data)
                if frame.fin:
                    pieces, self._pieces = self._pieces, None
                    self._hear(b"".join(pieces))
        elif opcode is Opcode.PING:
            # Unless the client lets the answers pile up: then only later ones are answered.
            answer = b"".join(self._frames.data_to_send())
            if self._may_still_come() and self._transport.get_write_buffer_size() < _UNREAD_ANSWERS:
                self._write(answer)
        elif opcode is Opcode.PONG:
            # This server sends no pings of this kind.
            self._may_still_come()
        else:
            self._closed_by_client()

    def _hear(self, data: bytes) -> None:
        """A message has come: it is acted on when those before it have been."""
        if self._is_closed:
            return
        said: str | bytes = data
        if self._is_text:
            try:
                said = data.decode()
            except UnicodeDecodeError:
                self._frames.send_close(close_codes.NOT_UTF8)
                self._break_off()
                return
        connection = self._connection
        # One that has just ended is told of in the next step.
        if connection is not None and self._acting is not None and not self._acting.done():
            connection = None
        if connection is not None and not self._has_acted and self._heard is None:
            self._has_acted = True
            self._act_at_once(connection, said)
            return
        if self._heard is None:
            self._heard = deque()
        self._heard.append(said)
        self._pause()
        if connection is not None:
            self._do(partial(self._act, connection))

    def _act_at_once(self, connection: Connection, said: str | bytes) -> None:
        """Act on a message, in a task if something has to be awaited for it; further messages wait then."""
        try:
            rest = connection.receive_at_once(said) if self._may_say(connection, said) else None
        except Exception:  # noqa: BLE001 - as in `_run`
            self._failed()
            return
        if rest is not None:
            self._do(partial(self._act, connection, rest))

    def _may_say(self, connection: Connection, said: str | bytes) -> bool:
        """Whether it is not too much; else it has ended the conversation."""
        if self._guest is not None and self._guest.message(time.monotonic(), len(said)):
            return True
        connection.end(Input.LIMIT_PASSED)
        return False

    async def _act(self, connection: Connection, rest: Callable[[], Awaitable[None]] | None = None) -> None:
        """Do the rest of what a message asked for, then act on what was heard, one message at a time."""
        if rest is not None:
            await rest()
        while self._heard and not self._is_closed:
            said = self._heard.popleft()
            if not self._heard:
                self._heard = None
                self._read_on()
            if not self._may_say(connection, said):
                return
            await connection.receive(said)
            # Those that wait already would be acted on in the same step of the event loop, all others waiting.
            await asyncio.sleep(0)

    def _do(self, what: Callable[[], Awaitable[None]]) -> None:
        task = self._acting = self._loop.create_task(self._run(what))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _run(self, what: Callable[[], Awaitable[None]]) -> None:
        try:
            await what()
        except Exception:  # noqa: BLE001 - it ends one client's conversation, visibly, and nobody else's
            self._failed()

    def _failed(self) -> None:
        """End the conversation: an exception is being handled."""
        connection = self._connection
        _log.exception("connection %s failed", "that begins" if connection is None else connection.id)
        if connection is None:
            self.close(*GOODBYES[Input.FAULT])
        else:
            connection.end(Input.FAULT)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._acting is task:
            self._acting = None

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _may_still_come(self) -> bool:
        """Whether one more frame that is no message, nor the end of one, may come; else the conversation ends.

        It costs as much as a message, and nobody counts it as one.
        """
        if self._is_closed or self._transport.is_closing():
            return False
        now = self._loop.time()
        self._quiet_at = max(self._quiet_at, now) + 1 / _FRAMES_PER_SECOND
        if self._quiet_at - now <= _FRAMES_AT_ONCE / _FRAMES_PER_SECOND:
            return True
        self._frames.send_close(*GOODBYES[Input.LIMIT_PASSED])
        self._break_off()
        return False

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
        self._frames.send_close(code, reason)
        self._write(b"".join(self._frames.data_to_send()))
        self._is_closed = True
        self._drop_in(_LAST_WORDS_SECONDS)
        self._end()
        self._read_on()

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

    @property
    def _frames(self) -> Protocol:
        """What is left of the library's protocol behind its hand-shake."""
        if self._protocol is None:
            limit = self._host.max_message_bytes
            self._protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=limit, logger=_frames_log)
        return self._protocol

    def _drop_protocol(self) -> None:
        if self._protocol is not None:
            # Its parser, which refers to it: else both would wait for the collector.
            self._protocol.parser.close()
            self._protocol = None

    # The end.

    def _closed_by_client(self) -> None:
        """Its close is answered, or was the answer."""
        if not self._is_closed:
            self._write(b"".join(self._frames.data_to_send()))
            self._is_closed = True
        self._is_over = True
        self._end()
        self._transport.close()
        self._drop_in(_LAST_WORDS_SECONDS)

    def _break_off(self) -> None:
        """Close behind what breaks the protocol, so that the client sees the code though it is still sending.

        A socket that is closed with something unread in it is reset, and what was said last is lost with it.
        """
        self._write(b"".join(self._frames.data_to_send()))
        self._is_closed = self._is_over = True
        self._end()
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._read_on()
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
        self._drop_protocol()
        self._stop_acting()
        self._leave()

    def shutdown(self) -> None:
        """The process is about to end."""
        self.close(*GOODBYES[Input.GOING_AWAY])
        self._drop_in(_SHUTDOWN_SECONDS)

    def _stop_acting(self) -> None:
        """What is acted on has nobody to answer to; whoever called this from there comes to its end by itself."""
        self._heard = self._pieces = None
        if self._acting is not None and self._acting is not asyncio.current_task():
            self._acting.cancel()

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
        """Drop it then, unless that is to happen sooner already.

        A transport that is merely closed waits for the client to take what is buffered: for one that has stopped
        reading it would be held, with its descriptor, for as long as that client likes.
        """
        at = self._loop.time() + seconds
        if self._dropping is not None:
            if self._dropping.when() <= at:
                return
            self._dropping.cancel()
        self._dropping = self._loop.call_at(at, self._transport.abort)


def _descriptor_of(transport: asyncio.Transport) -> int:
    """That of the socket of which a transport writes to what it is given, as it is; -1 where there is none."""
    socket = transport.get_extra_info("socket")
    if socket is None or transport.get_extra_info("sslcontext") is not None or sys.platform == "win32":
        return -1
    return int(socket.fileno())
