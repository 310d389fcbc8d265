"""The client: streams of events that go on by themselves over every interruption."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, NoReturn, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from lastseen.asking import Asking, CommandResult
from lastseen.backoff import Backoff
from lastseen.close_codes import Return, when_to_return
from lastseen.commands import CommandName
from lastseen.connection import Connection, connecting, websocket_url
from lastseen.errors import (
    AccessDenied,
    BadRequest,
    Closed,
    Ended,
    LastseenError,
    ProtocolError,
)
from lastseen.notices import (
    Answer,
    Begun,
    CaughtUp,
    Delivery,
    Established,
    FellBehind,
    Gap,
    Message,
    Notice,
    Ping,
    Refused,
    Unsubscribed,
)
from lastseen.positions import Position
from lastseen.session import Session, StartKind
from lastseen.stream import Moved, Passed, Received, Stream
from lastseen.transitions import State
from lastseen.verdicts import code_and_reason, refusal, wait_after

Token = str | Callable[[], Awaitable[str]]
STEADY_SECONDS: Final = 10.0
"""A connection that lasted so long went well: the back-off starts small again."""
_log = logging.getLogger(__name__)


class Client:
    """Reads channels of the service at `url`.

    `token` is a JWT, or an async function that gives one whenever it is needed (then an expired one is
    renewed by itself). `project` adds the subscription of that project to the automatic ones; `client_id`
    names the durable cursor of the user's offline messages. `on_interruption(reason, delay)` is called when
    the connection is gone and comes back in `delay` seconds.

        async with Client(url, token) as client:
            async for event in client.subscribe("task:build", after="earliest"):
                ...

    What ends the client for good (a token that is not accepted, say) is raised by every stream.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        project: str | None = None,
        client_id: str | None = None,
        backoff: Backoff | None = None,
        on_interruption: Callable[[str, float], None] | None = None,
    ) -> None:
        websocket_url(url, {})  # an address that can't work is told at once
        self._url = url
        self._token = token
        self._query = {k: v for k, v in (("project_id", project), ("client_id", client_id)) if v is not None}
        self._backoff = backoff or Backoff()
        self._on_interruption = on_interruption
        self._session = Session()
        self._streams: dict[str, Stream] = {}
        self._asking = Asking(self._transmit)
        self._connection: Connection | None = None
        self._user_channel: str | None = None
        self._established = False
        self._runner: asyncio.Task[None] | None = None
        self._retries: set[asyncio.Task[None]] = set()
        self._error: LastseenError | None = None

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        self._error = self._error or Closed("the client is closed")
        for stream in list(self._streams.values()):
            stream.end(self._error)
        self._asking.fail(self._error)
        self._runner.cancel()
        results = await asyncio.gather(self._runner, return_exceptions=True)
        if isinstance(results[0], Exception) and error is None:
            raise results[0]

    def subscribe(
        self,
        channel: str,
        *,
        after: str | None = None,
        since: str | None = None,
        last: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Stream:
        """The events of `channel` from now on; or after a position token, since a time, or the last so many.

        One stream per channel at a time. `on_gap` is called, in the order of the events, when some of them
        will not come.
        """
        self._check_open()
        if (had := self._streams.get(channel)) is not None and not had.ended:
            raise ValueError(f"{channel} has a stream already: close it first")
        starts: list[tuple[StartKind, object]] = []
        if after is not None:
            starts.append(("after", Position.parse(after).token))
        if since is not None:
            starts.append(("since", since))
        if last is not None:
            starts.append(("last", last))
        if len(starts) > 1:
            raise ValueError("give one of after, since and last")
        stream = Stream(channel, begun=not starts, on_gap=on_gap, close=self._leave)
        self._streams[channel] = stream
        if not starts and channel not in self._session.automatic and self._session.state(channel) is State.IDLE:
            self._session.forget(channel)  # what an earlier stream had is not where this one begins
        self._transmit(self._session.subscribe(channel, starts[0] if starts else None))
        return stream

    async def send_input(self, task: str, text: str, *, command_id: str | None = None) -> CommandResult:
        """Write `text` to the input of a running task, as it is; wait until it is known what became of that.

        A command goes on over every interruption. It is applied at most once, also if you call this again with
        the same `command_id`. Raises AccessDenied, BadRequest, and what the client failed with.
        """
        return await self._command(CommandName.INPUT, task, command_id, input=text)

    async def cancel(self, task: str, *, command_id: str | None = None) -> CommandResult:
        """End a running task; as `send_input`."""
        return await self._command(CommandName.CANCEL, task, command_id)

    async def pause(self, task: str, *, command_id: str | None = None) -> CommandResult:
        """Halt a running task; as `send_input`."""
        return await self._command(CommandName.PAUSE, task, command_id)

    async def resume(self, task: str, *, command_id: str | None = None) -> CommandResult:
        """Let a halted task go on; as `send_input`."""
        return await self._command(CommandName.RESUME, task, command_id)

    async def confirm(
        self,
        task: str,
        confirmation_id: str,
        *,
        approved: bool,
        command_id: str | None = None,
    ) -> CommandResult:
        """Answer a `task_confirmation_required` of the task; as `send_input`."""
        data = {"confirmation_id": confirmation_id, "approved": approved}
        return await self._command(CommandName.CONFIRM, task, command_id, **data)

    async def _command(self, name: CommandName, task: str, id_: str | None, **data: object) -> CommandResult:
        self._check_open()
        return await self._asking.command(name, task, id_, **data)

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self._runner is None:
            raise Closed("enter the client first: async with Client(…) as client")

    def _transmit(self, message: Message) -> None:
        if self._connection is not None:
            self._connection.send(message)

    def _leave(self, stream: Stream) -> None:
        if self._streams.get(stream.channel) is not stream:
            return
        del self._streams[stream.channel]
        if stream.channel in self._session.automatic:
            return  # its position is needed to come back
        self._transmit(self._session.unsubscribe(stream.channel))

    def _finish(self, stream: Stream, error: LastseenError | None = None) -> None:
        stream.end(error)
        self._leave(stream)

    async def _run(self) -> None:
        try:
            await self._reconnect_for_ever()
        except LastseenError as error:
            self._error = error
        except Exception as error:
            self._error = LastseenError(f"the client failed: {error!r}")
            raise
        finally:
            for retry in self._retries:
                retry.cancel()
            await asyncio.gather(*self._retries, return_exceptions=True)
            ending = self._error or Closed("the client is closed")
            for stream in list(self._streams.values()):
                stream.end(ending)
            self._asking.fail(ending)

    async def _reconnect_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        renewed = False
        while True:
            began, self._established = clock(), False
            retry_after = 0.0
            try:
                await self._converse()
            except ConnectionClosed as closed:
                reason, back = self._judge(closed)
                if back is Return.AFTER_RENEWING:
                    # Renewed once in vain: the next token would be refused as well.
                    renewable = callable(self._token) and not (renewed and not self._established)
                    if not renewable:
                        raise refusal(closed) from closed
                    renewed = True
                elif back is Return.NEVER:
                    raise refusal(closed) from closed
            except InvalidStatus as error:
                reason, back = f"HTTP {error.response.status_code}", Return.LATER
                retry_after = wait_after(error)
            except (OSError, TimeoutError, InvalidHandshake) as error:
                reason, back = str(error) or type(error).__name__, Return.LATER
            except ProtocolError as error:
                reason, back = str(error), Return.LATER
            finally:
                self._connection = None
                self._session.on_disconnected()
            if self._established:
                renewed = renewed and back is Return.AFTER_RENEWING
                if back is Return.AT_ONCE or clock() - began >= STEADY_SECONDS:
                    self._backoff.reset()
            delay = max(self._backoff.next(), retry_after)
            _log.info("interrupted (%s), back in %.1f s", reason, delay)
            if self._on_interruption is not None:
                self._on_interruption(reason, delay)
            await asyncio.sleep(delay)

    def _judge(self, closed: ConnectionClosed) -> tuple[str, Return]:
        if self._connection is not None and self._connection.dropped is not None:
            return self._connection.dropped, Return.AT_ONCE
        code, reason = code_and_reason(closed)
        return (f"{code} {reason}".strip(), when_to_return(code, reason))

    async def _converse(self) -> NoReturn:
        """One connection, from opening to its end, which is an exception."""
        token = self._token if isinstance(self._token, str) else await self._token()
        resume = self._session.resume()
        query = self._query if resume.after is None else {**self._query, "after": resume.after}
        async with connecting(self._url, token, query) as socket:
            self._connection = connection = Connection(socket)
            # What was subscribed while the connection was being opened is asked for here as well.
            for message in (*self._session.resume().messages, *self._asking.unanswered):
                connection.send(message)
            await connection.run(self._handle)
        raise AssertionError("a connection ends by an exception")

    async def _handle(self, message: Message, size: int) -> None:
        for item in self._session.receive(message):
            if isinstance(item, Delivery):
                for channel in item.channels:
                    stream = self._streams.get(channel)
                    position = self._session.position(channel)
                    if stream is not None and stream.begun and position is not None:
                        await stream.put(Received(item.event, position), size)
                        if stream.ended:
                            self._leave(stream)
            else:
                await self._notice(item)

    async def _notice(self, notice: Notice) -> None:
        match notice:
            case Established():
                self._established = True
                self._user_channel = f"user:{notice.user_id}"
                assert self._connection is not None
                self._connection.beat(notice.heartbeat)
            case Begun(channel=channel):
                if (stream := self._streams.get(channel)) is not None:
                    stream.begun = stream.begun or notice.answers
                    if stream.begun:
                        await self._moved(stream)
            case CaughtUp(channels=channels):
                for stream in self._of(channels):
                    await self._moved(stream, caught_up=True)
                    if notice.closed:
                        self._finish(stream)
            case Gap(channels=channels) | FellBehind(channels=channels):
                for stream in self._of(channels):
                    await stream.put(notice)
                    await self._moved(stream)
            case Ping():
                await self._answer_ping()
            case Refused():
                self._refused(notice)
            case Unsubscribed(channel=channel, reason=reason):
                if reason is not None and (stream := self._streams.get(channel)) is not None:
                    self._finish(stream, Ended(channel, reason))
            case Answer():
                if not self._asking.take(notice.message):
                    _log.debug("not asked for: %s", notice.message.get("type"))

    async def _answer_ping(self) -> None:
        assert self._connection is not None
        for stream in self._of(self._session.live):
            await self._moved(stream)
        mine = self._streams.get(self._user_channel or "")
        if mine is None:
            # A pong would move the user's stored cursor over messages that nobody here has read.
            self._connection.send({"type": "ping"})
        else:
            connection = self._connection
            await mine.put(Passed(lambda: connection.send({"type": "pong"})))

    def _refused(self, refused: Refused) -> None:
        stream = self._streams.get(refused.channel)
        if stream is None:
            return
        if refused.channel in self._session.wanted:
            delay = refused.retry_after if refused.retry_after is not None else 1.0
            retry = asyncio.create_task(self._ask_again(stream, delay))
            self._retries.add(retry)
            retry.add_done_callback(self._retries.discard)
        elif "denied" in refused.message.lower():
            self._finish(
                stream,
                AccessDenied(f"{refused.message}: {refused.channel}", code=refused.code, channel=refused.channel),
            )
        else:
            self._finish(stream, BadRequest(f"{refused.channel}: {refused.message}", code=refused.code))

    async def _ask_again(self, stream: Stream, delay: float) -> None:
        connection = self._connection
        await asyncio.sleep(delay)
        # A new connection has asked already.
        if connection is not None and connection is self._connection and self._streams.get(stream.channel) is stream:
            connection.send(self._session.subscribe(stream.channel))

    def _of(self, channels: tuple[str, ...]) -> list[Stream]:
        return [s for c in channels if (s := self._streams.get(c)) is not None and s.begun]

    async def _moved(self, stream: Stream, *, caught_up: bool = False) -> None:
        position = self._session.position(stream.channel)
        if position is not None:
            await stream.put(Moved(position, caught_up=caught_up))
