"""What a client asks and waits for: over every interruption, and a command by one id, so that it is applied once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from lastseen.commands import CommandName
from lastseen.errors import AccessDenied, BadRequest, LastseenError, ProtocolError
from lastseen.notices import Message

_RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command. `state`: `applied`, `rejected`, `expired` (neither will ever be) or `unknown`.

    Of an `unknown` one the task's channel will tell (an event `task_command` with this `command_id`), and so
    will the same command sent again with the same `id`.
    """

    id: str
    task: str
    state: str
    reason: str | None

    @property
    def success(self) -> bool:
        """Whether it was applied: nothing less."""
        return self.state == "applied"


@dataclass(slots=True)
class _Asked:
    message: Message
    answer: asyncio.Future[Message] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Asking:
    """What has been asked and not been answered; as many as there are callers waiting.

    `transmit` sends a message where there is a connection, and else drops it.
    """

    def __init__(self, transmit: Callable[[Message], None]) -> None:
        self._transmit = transmit
        self._asked: dict[str, _Asked] = {}
        self._refs = 0
        self._error: LastseenError | None = None

    @property
    def unanswered(self) -> tuple[Message, ...]:
        """To be sent on a new connection, in this order."""
        return tuple(asked.message for asked in self._asked.values())

    async def command(self, name: CommandName, task: str, id_: str | None, **data: object) -> CommandResult:
        """Send it until it is answered. Raises AccessDenied, BadRequest, and what `fail` was given."""
        return _result(await self.ask({"type": name.value, "task_id": task, "id": id_ or uuid4().hex, **data}))

    async def ask(self, message: Message) -> Message:
        """The answer; what passes by itself is asked again. Raises as `command`."""
        self._refs += 1
        ref = f"c{self._refs}"
        message = {**message, "ref": ref}
        while True:
            if self._error is not None:
                raise self._error
            asked = self._asked[ref] = _Asked(message)
            try:
                self._transmit(message)
                answer = await asked.answer
            finally:
                del self._asked[ref]
            if answer["type"] != "error":
                return answer
            await asyncio.sleep(_pause(answer))

    def take(self, message: Message) -> bool:
        """Whether this message of the server answers something that was asked."""
        asked = self._asked.get(str(message.get("ref")))
        if asked is None:
            return False
        if not asked.answer.done():
            asked.answer.set_result(message)
        return True

    def fail(self, error: LastseenError) -> None:
        """No answer will come any more, nor to what is asked later."""
        self._error = error
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(error)


def _result(answer: Message) -> CommandResult:
    try:
        reason = answer.get("reason")
        return CommandResult(
            str(answer["id"]), str(answer["task_id"]), str(answer["state"]), None if reason is None else str(reason)
        )
    except KeyError as error:
        raise ProtocolError(f"the answer {str(answer)[:200]} to a command has no {error}") from error


def _pause(answer: Message) -> float:
    """The seconds after which the same may be asked again. Raises what an error is that will not pass."""
    text, code, retry_after = str(answer.get("message")), answer.get("code"), answer.get("retry_after")
    if retry_after is not None:
        return max(float(retry_after), _RETRY_SECONDS)
    if code == "access_denied":
        raise AccessDenied(text, code=code)
    raise BadRequest(text, code=code)
