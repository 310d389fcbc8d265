"""Answering the commands of connections: a task for each, as long as it waits, owned by the node."""

import asyncio
import logging
from typing import Protocol

from pydantic import JsonValue

from service.domain.command_requests import CommandRequest, command_result
from service.domain.errors import BadRequest, Denied, Unavailable
from service.domain.identity import Identity
from service.domain.messages import Message
from service.node.commands import Commander

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Asker(Protocol):
    """A connection, as far as commands need one."""

    @property
    def id(self) -> str: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def is_gone(self) -> bool: ...
    def answer(self, message: Message) -> None: ...
    def fail(self, message: str, code: str, *, ref: JsonValue = None, retry_after: float | None = None) -> None: ...


class CommandTasks:
    """Sends commands and answers them when their receipts come; other messages don't wait for that.

    A connection may have `limit` under way; another is refused with `too_many_commands`.
    """

    def __init__(self, tasks: asyncio.TaskGroup, commander: Commander, limit: int) -> None:
        self._tasks = tasks
        self.commander = commander
        """For whoever waits for the answer in a task of his own."""
        self._limit = limit
        self._running: dict[str, set[asyncio.Task[None]]] = {}
        self._appended: set[asyncio.Task[None]] = set()

    def start(self, asker: Asker, request: CommandRequest) -> None:
        """Send a command; the answer goes to the connection."""
        running = self._running.setdefault(asker.id, set())
        if len(running) >= self._limit:
            problem = f"{self._limit} commands of this connection wait for their receipts: send it again later"
            asker.fail(problem, "too_many_commands", ref=request.ref, retry_after=_RETRY_SECONDS)
            return
        task = self._tasks.create_task(self._serve(asker, request), name=f"command {asker.id}")
        running.add(task)
        task.add_done_callback(lambda done: self._done(asker.id, done))

    def leave(self, connection_id: str) -> None:
        """The connection is gone: nobody waits for its answers. What it has sent is still appended."""
        for task in self._running.get(connection_id, set()) & self._appended:
            task.cancel()

    def cancel(self) -> None:
        """End them all."""
        for running in self._running.values():
            for task in running:
                task.cancel()

    def _done(self, connection_id: str, task: asyncio.Task[None]) -> None:
        self._appended.discard(task)
        running = self._running[connection_id]
        running.discard(task)
        if not running:
            del self._running[connection_id]

    async def _serve(self, asker: Asker, request: CommandRequest) -> None:
        ref = request.ref
        try:
            async with self.commander.sending(asker.identity, request) as sent:
                if asker.is_gone:
                    return
                task = asyncio.current_task()
                assert task is not None
                self._appended.add(task)
                asker.answer(command_result(await sent.result(), ref))
        except Denied as error:
            asker.fail(str(error), "access_denied", ref=ref)
        except BadRequest as error:
            asker.fail(str(error), error.code, ref=ref)
        except Unavailable as error:
            asker.fail(str(error), error.code, ref=ref, retry_after=error.retry_after)
        except Exception:  # noqa: BLE001 - one client's command must not take the node down
            _log.exception("a command of connection %s failed", asker.id)
            asker.fail("Message processing error", "processing_error", ref=ref)
