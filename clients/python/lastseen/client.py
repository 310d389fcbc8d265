"""The client: streams of events that go on by themselves over every interruption."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote
from uuid import uuid4

from websockets.exceptions import ConnectionClosed

from lastseen.asking import Asking, CommandResult
from lastseen.backoff import Backoff
from lastseen.channels import ID_PATTERN
from lastseen.close_codes import PROJECT_DENIED
from lastseen.commands import CommandName
from lastseen.connection import websocket_url
from lastseen.delivering import Delivering
from lastseen.errors import AccessDenied, Closed, LastseenError
from lastseen.line import Line
from lastseen.notices import Gap, Message
from lastseen.positions import Position
from lastseen.reconnecting import Reconnecting
from lastseen.renewal import Renewal, Token
from lastseen.session import Session, StartKind
from lastseen.stream import Stream
from lastseen.tasks import Tasks
from lastseen.transitions import State
from lastseen.verdicts import code_and_reason

if TYPE_CHECKING:
    from lastseen.history import History
    from lastseen.starting import StartedTask


class Client:
    """Reads channels of the service at `url`.

    `token` is a JWT, or an async function that gives one whenever it is needed: then another is put in its place
    before it runs out, on the open connection. (What the function raises when a connection is made ends the client,
    except OSError and TimeoutError: these pass.) `project` adds the subscription of that project to the automatic
    ones. `client_id` names the durable cursor of the user's offline messages, one for each device; clients without
    a name share one. `auto_ack`: what the reader of `user:{me}` has dealt with is confirmed by itself; else by `ack`
    alone. `on_interruption(reason, delay)` is called when the connection is gone and comes back in `delay` seconds.

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
        auto_ack: bool = True,
        backoff: Backoff | None = None,
        on_interruption: Callable[[str, float], None] | None = None,
    ) -> None:
        websocket_url(url, {})  # an address that can't work is told at once
        if client_id is not None and not re.fullmatch(ID_PATTERN, client_id):
            raise ValueError(f"client_id {client_id[:200]!r}: use 1 to 128 of A-Z a-z 0-9 . _ : @ + = ~ | -")
        self._url = url
        self._token = token
        self._project = project
        self._query = {k: v for k, v in (("project_id", project), ("client_id", client_id)) if v is not None}
        self._session = Session()
        self._line = Line()
        self._tasks = Tasks()
        self._asking = Asking(self._line.send)
        renewal = Renewal(token, self._line, self._tasks)
        self._delivering = Delivering(
            self._session,
            self._line,
            self._asking,
            renewal,
            self._tasks,
            auto_ack=auto_ack,
            on_ended=self._ended,
        )
        self._streams = self._delivering.streams
        self._reconnecting = Reconnecting(
            url,
            self._query,
            self._session,
            self._line,
            self._asking,
            self._delivering,
            renewal,
            backoff or Backoff(),
            on_interruption=on_interruption,
            give_way=self._leave_project,
        )
        self._runner: asyncio.Task[None] | None = None
        self._error: LastseenError | None = None

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        self._error = self._error or Closed("the client is closed")
        self._delivering.end(self._error)
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

        Of the own user channel, without a start, first what came while the user was away (up to 7 days, as far as
        it was not confirmed). One stream per channel at a time. `on_gap` is called, in the order of the events, when
        some of them will not come.
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
        stream = Stream(channel, begun=not starts, on_gap=on_gap, close=self._delivering.leave)
        self._streams[channel] = stream
        if channel.startswith("user:") and since is None and last is None:
            self._read(stream, None if after is None else Position.parse(after).token)
            return stream
        if not starts and channel not in self._session.automatic and self._session.state(channel) is State.IDLE:
            self._session.forget(channel)  # what an earlier stream had is not where this one begins
        self._line.send(self._session.subscribe(channel, starts[0] if starts else None))
        return stream

    def _read(self, stream: Stream, after: str | None) -> None:
        message = self._session.read(stream.channel, after)
        if message is not None:
            self._line.send(message)
        else:
            stream.begun, stream.begins_with_connection = False, True
            self._line.drop("what came while away is delivered to a new connection")

    def history(
        self,
        channel: str,
        *,
        types: Sequence[str] = (),
        after: str | None = None,
        since: str | None = None,
        until: str | None = None,
        newest: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> "History":
        """The events of `channel` that the log holds now, for `async for`; see `lastseen.history.History`.

        Only those of some `types`, after a position, or appended in `[since, until)` (RFC 3339); or only the `newest`
        so many. It needs no connection of the client, nor that the client was entered.
        """
        from lastseen.history import History

        return History(
            self._url,
            self._token,
            channel,
            types=types,
            after=after,
            since=since,
            until=until,
            newest=newest,
            on_gap=on_gap,
            on_retry=on_retry,
        )

    async def task(self, task: str, *, on_retry: Callable[[str, float], None] | None = None) -> Message:
        """The state of a task as of its `position`, as `GET /api/v1/tasks/{id}` answers it: after a gap, say.

        Subscribe `after` that position, and nothing falls between: `lastseen.task_state.TaskView` goes on from
        it. It needs no connection. Raises AccessDenied, AuthenticationFailed, BadRequest (no such task), ProtocolError.
        """
        return await self._state("tasks", task, on_retry)

    async def project(self, project: str, *, on_retry: Callable[[str, float], None] | None = None) -> Message:
        """The state of a project as of its `position`; as `task`."""
        return await self._state("projects", project, on_retry)

    async def _state(self, kind: str, id_: str, on_retry: Callable[[str, float], None] | None) -> Message:
        from lastseen.getting import Getting

        getting = Getting(self._url, f"{kind}/{quote(id_, safe='')}", self._token, on_retry)
        async with getting.http() as http:
            return await getting.get(http, {}, ("id", "position"), "state")

    async def ack(self, position: str | None = None) -> str:
        """Confirm the events of the own user channel up to a position; wait until that is durable.

        Without one up to the last event that its stream has given. They don't come again, as offline messages, to a
        client of the same `client_id`. Returns where the durable cursor stands: nothing lowers it. Raises ValueError
        where there is nothing to confirm, and what the client failed with.
        """
        self._check_open()
        mine = self._streams.get(self._session.user_channel or "")
        token = position or (None if mine is None else mine.position)
        if token is None or Position.parse(token).is_earliest:
            raise ValueError("nothing of the own user channel has been read yet: subscribe to it, or name a position")
        return str((await self._asking.ask({"type": "ack", "position": token}))["position"])

    async def presence(self, channel: str) -> list[str]:
        """The users who have a connection, on any node, that is subscribed to `channel`.

        Raises AccessDenied where the channel may not be read, BadRequest, and what the client failed with.
        """
        self._check_open()
        return list((await self._asking.ask({"type": "presence", "channel": channel}))["users"])

    async def start(
        self,
        project: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout_seconds: float | None = None,
        pty: tuple[int, int] | None = None,
        takes_input: bool = False,
        adapter: str = "plain",
        task: str | None = None,
        command_id: str | None = None,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> "StartedTask":
        """Run a program as a task of `project`, on whichever runner takes it; back when one has begun it.

        `pty`: on a terminal of so many columns and rows; else, with `takes_input`, its stdin stays open for
        `send_input`. It needs no connection, and goes on while the service is away; started once, also if you call
        this again with the same `command_id`. Raises AccessDenied, BadRequest, NoRunner: see `lastseen.starting`.
        """
        from lastseen.starting import start_task

        body: dict[str, object] = {
            "project_id": project,
            "command": [*command],
            "env": dict(env or {}),
            "cwd": cwd,
            "timeout_seconds": timeout_seconds,
            "pty": pty is not None,
            "input": takes_input,
            "adapter": adapter,
            "task_id": task,
            "id": command_id or uuid4().hex,
        }
        if pty is not None:
            body["columns"], body["rows"] = pty
        return await start_task(self._url, self._token, body, on_retry)

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

    def _ended(self, channel: str) -> None:
        if channel == f"project:{self._project}":
            # To come back with it would be refused, and with it every other stream.
            self._query.pop("project_id", None)

    def _leave_project(self, closed: ConnectionClosed) -> bool:
        """Whether the others may go on without the project that a later connection was refused for."""
        code, reason = code_and_reason(closed)
        if reason != PROJECT_DENIED or self._session.user_channel is None or "project_id" not in self._query:
            return False
        channel = f"project:{self._project}"
        self._ended(channel)
        if (stream := self._streams.get(channel)) is not None:
            self._delivering.finish(stream, AccessDenied(f"{reason}: {channel}", code=code, channel=channel))
        return True

    async def _run(self) -> None:
        try:
            await self._reconnecting.run()
        except LastseenError as error:
            self._error = error
        except Exception as error:
            self._error = LastseenError(f"the client failed: {error!r}")
            raise
        finally:
            await self._tasks.close()
            ending = self._error or Closed("the client is closed")
            self._delivering.end(ending)
            self._asking.fail(ending)
