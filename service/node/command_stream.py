"""The commands of one task as Server-Sent Events, for whoever runs it: a cursor over the topic of commands.

As with an event stream nothing is queued for it: it is asked for the next bytes once the client has taken the last,
and reads what the window has dropped meanwhile from the topic.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from random import randint
from typing import Final

from lastseen.names import TERMINAL_TYPES
from lastseen.positions import Position

from service.domain import messages, server_sent
from service.domain.errors import OffsetsGone, Unavailable
from service.domain.identity import Identity
from service.domain.records import Record
from service.node.command_feed import CommandFeed
from service.node.command_window import HeldCommand, held_command
from service.node.services import Services
from service.node.stream_times import StreamTimes
from service.ports import Place, Verdict

LATE_SECONDS: Final = 5.0
"""So long after its deadline a command is still told to one who has just come: clocks differ, and his counts."""
_PIECE_BYTES: Final = 64 * 1024
_FIRST_RETRY: Final = 0.2
_MAX_RETRY: Final = 5.0
_RETURN_MS: Final = (200, 1_000)
"""When the client comes back that loses a node: somebody may wait for what it does."""
_COMMENT: Final = b":\n\n"


class CommandStream:
    """Whoever carries it calls `judge`, then takes `frames`; everything else comes from the node.

    Without `after` it begins with the commands that may still be applied.
    """

    def __init__(
        self, node: Services, feed: CommandFeed, identity: Identity, task: str, after: Position | None
    ) -> None:
        self._node = node
        self._feed = feed
        self._identity = identity
        self._task = task
        self._channel = f"task:{task}"
        self._after = after
        self._topic = ""
        self._times_begun = 0
        """How often the reading had begun when it was placed in it; 0: it was not yet."""
        self._cursor: dict[int, int] = {}
        """Per partition the offset up to which all of its commands were sent."""
        self._first_new: Mapping[int, int] = {}
        """What lies below had come before it began: of that it tells what is not late."""
        self._times = StreamTimes(node.settings, node.clock, identity)
        self._retry = _FIRST_RETRY
        self._return_ms = _RETURN_MS[0]
        self._is_asleep = False
        self._woken = asyncio.Event()

    @property
    def task(self) -> str:
        """Whose commands it reads."""
        return self._task

    @property
    def channels(self) -> Sequence[str]:
        """The channels whose events concern it."""
        return (self._channel,)

    # What the node tells it.

    def wake(self, record: Record) -> None:
        """The task's channel has a new event."""
        if record.type in TERMINAL_TYPES:
            self.look()

    def command_came(self, place: Place) -> None:
        """A command of its task has come."""
        if self._is_asleep:
            # While it slept nothing else was for it.
            self._rise()
            self._cursor[place.partition] = max(self._cursor.get(place.partition, -1), place.offset - 1)
        self.look()

    def look(self) -> None:
        """Something may concern it that is no command."""
        self._is_asleep = False
        self._woken.set()

    def close(self) -> None:
        """Nobody takes its frames any more."""
        self._feed.remove(self)

    def end(self, within_ms: int) -> None:
        """The node is about to end; its clients come back spread over so long."""
        self._return_ms = randint(_RETURN_MS[0], max(_RETURN_MS[0], within_ms))  # noqa: S311 - to spread clients
        self._times.end()

    # The beginning.

    async def judge(self) -> Verdict:
        """Whether it may be read: by whom the log says that he started the task, or by an admin."""
        verdict = await self._node.access.may_execute(self._identity, self._task)
        if verdict is not True:
            return verdict
        try:
            known = await self._node.rights.find(self._task)
        except Unavailable as error:
            return error
        return known is not None and (self._identity.is_admin or known.user == self._identity.user_id)

    @property
    def has_ended(self) -> bool:
        """Whether the task is known to have ended: nobody may command it any more."""
        return self._node.has_ended(self._channel)

    def _begin(self) -> None:
        """Place it in what is being read now."""
        window, seen = self._feed.window, self._seen
        if seen is None or seen.epoch != window.topic:
            self._cursor = {p: offset - 1 for p, offset in window.lately.items()}
            self._first_new = dict(window.next)
        elif not self._times_begun:
            self._cursor = {p: seen.offsets.get(p, first - 1) for p, first in window.first.items()}
        else:
            # The reading has lost its place. What comes again by this is applied once all the same.
            self._cursor = {p: min(seen.offsets.get(p, first), first - 1) for p, first in window.first.items()}
        self._topic, self._times_begun = window.topic or "", window.times_begun

    @property
    def _seen(self) -> Position | None:
        return Position(self._topic, self._cursor) if self._times_begun else self._after

    # What is sent.

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The stream in pieces, none of them empty, until the task, its rights, its token or the node end."""
        self._feed.add(self)
        self._times.told()
        yield server_sent.retry(randint(*_RETURN_MS))  # noqa: S311 - as above
        while not self._is_over:
            try:
                async with aclosing(self._read()) as pieces:
                    async for piece in pieces:
                        self._retry = _FIRST_RETRY
                        self._times.told()
                        yield piece
            except Unavailable as error:
                self._times.told()
                yield self._error(str(error), error.code, error.retry_after)
                await self._times.wait(partial(asyncio.sleep, self._retry))
                self._retry = min(self._retry * 2, _MAX_RETRY)
        if farewell := self._farewell():
            yield farewell

    async def _read(self) -> AsyncGenerator[bytes, None]:
        while not self._is_over:
            window = self._feed.window
            if window.times_begun != self._times_begun:
                self._begin()
                yield server_sent.moved(self._place)
            async with aclosing(self._dropped()) as pieces:
                async for piece in pieces:
                    yield piece
                    if self._is_over:
                        return
            if piece := next(self._pieces(window.behind(self._task, self._cursor)), b""):
                yield piece
                continue
            self._rise()
            await self._sleep()
            if self._times.is_keepalive_due:
                yield server_sent.moved(self._place) if self._times_begun else _COMMENT

    async def _dropped(self) -> AsyncGenerator[bytes, None]:
        """What the window holds no more, or never did, up to where it begins."""
        for partition, first in list(self._feed.window.first.items()):
            if self._cursor[partition] + 1 >= first:
                continue
            try:
                async with aclosing(self._feed.read(partition, self._cursor[partition] + 1, first)) as batches:
                    async for batch in batches:
                        found = map(held_command, batch.commands)
                        for piece in self._pieces(one for one in found if one is not None and one.task == self._task):
                            yield piece
                        self._cursor[partition] = max(self._cursor[partition], batch.next[partition] - 1)
            except OffsetsGone:
                # Retention has passed them: they are a day old.
                self._cursor[partition] = first - 1

    def _pieces(self, commands: Iterable[HeldCommand]) -> Iterator[bytes]:
        """These as bytes, none of them empty; the cursor is behind each when it is given."""
        said, size = [], 0
        now_ms = self._node.clock.now_ms()
        for held in commands:
            partition, offset = held.place
            self._cursor[partition] = max(self._cursor[partition], offset)
            is_old = offset < self._first_new.get(partition, 0)
            if is_old and held.deadline_ms + LATE_SECONDS * 1000 < now_ms:
                continue
            said.append(server_sent.event(held.payload, self._place))
            size += len(held.payload)
            if size >= _PIECE_BYTES:
                yield b"".join(said)
                said, size = [], 0
        if said:
            yield b"".join(said)

    async def _sleep(self) -> None:
        self._is_asleep = self._times_begun > 0
        self._woken.clear()
        try:
            await self._times.wait(self._woken.wait)
        finally:
            self._is_asleep = False

    def _rise(self) -> None:
        """To where the reading has come: nothing that was not sent is for it."""
        for partition, next_ in self._feed.window.next.items():
            self._cursor[partition] = max(self._cursor.get(partition, -1), next_ - 1)

    def _error(self, message: str, code: str, retry_after: float | None = None) -> bytes:
        return server_sent.named(messages.error(message, code, self._node.clock.now_ms(), retry_after=retry_after))

    def _farewell(self) -> bytes:
        if self._times.is_ended:
            return server_sent.retry(self._return_ms)
        if self._times.is_expired:
            return self._error("Token expired", "token_expired")
        if self.has_ended:
            return server_sent.named(messages.unsubscribed(self._channel, "task_ended"))
        if not self._may_still:
            return server_sent.named(messages.unsubscribed(self._channel, "rights"))
        return b""

    @property
    def _place(self) -> str:
        return Position(self._topic, self._cursor).token

    @property
    def _may_still(self) -> bool:
        return self._node.access.still_may(self._identity, self._channel)

    @property
    def _is_over(self) -> bool:
        return self._times.is_over or self.has_ended or not self._may_still
