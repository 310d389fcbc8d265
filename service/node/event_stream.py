"""One reader of Server-Sent Events: a cursor over what the node can reach, pulled on by whoever carries it.

Nothing is queued for it. It is asked for the next bytes once the client has taken the last, so it holds one page,
reads at the client's pace, and waits at the head until the tail has put something of its channels into the window.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from random import randint
from typing import Final, NamedTuple

from lastseen.positions import Position

from service.domain import messages, server_sent
from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.frames import event_payload
from service.domain.identity import Identity
from service.domain.records import Record
from service.node.access import BY_THE_LOG
from service.node.going_forward import ascending
from service.node.past import Wanted
from service.node.replay import Lost, Page
from service.node.services import Services
from service.node.starts import Start, begin
from service.node.stream_times import StreamTimes

_PIECE_BYTES: Final = 64 * 1024
"""What is sent before rights are looked at again."""
_FIRST_RETRY: Final = 0.2
_MAX_RETRY: Final = 5.0
_RETURN_MS: Final = (1_000, 3_000)
"""The clients that lose a node come back spread over this time."""
_LEAST_RETURN_MS: Final = 100


class Judged(NamedTuple):
    """Which channels may not be read, and where that can't be told of all now, why."""

    denied: Sequence[str]
    unsure: Unavailable | None


class EventStream:
    """Whoever carries it calls `judge`, then takes `frames`; `wake`, `look` and `end` come from the node."""

    def __init__(self, node: Services, identity: Identity, wanted: Wanted, start: Start | None) -> None:
        """Without a start it begins at the head as it is now."""
        self._node = node
        self._identity = identity
        self._wanted = replace(wanted, contradicts=node.access.contradicts, who=identity.user_id)
        self._start = start or Start(after=Position(node.head.epoch, node.window.heads()))
        self._cursor: dict[int, int] = {}
        """Everything wanted up to there was sent; empty until it is known where to begin."""
        self._times = StreamTimes(node.settings, node.clock, identity)
        self._is_judged = False
        self._is_caught_up = False
        self._retry = _FIRST_RETRY
        self._return_ms = _LEAST_RETURN_MS
        self._is_asleep = False
        self._woken = asyncio.Event()

    @property
    def channels(self) -> Sequence[str]:
        """What it reads."""
        return self._wanted.channels

    # What the node tells it.

    def wake(self, record: Record) -> None:
        """A record of its channels has come."""
        if self._is_asleep:
            self._rise({record.partition: record.offset - 1})

    def look(self) -> None:
        """Something may concern it that is no record of its channels."""
        if self._is_asleep:
            self._rise({})

    def close(self) -> None:
        """Nothing is held for it."""

    def end(self, within_ms: int) -> None:
        """The node is about to end; its clients come back spread over so long."""
        self._return_ms = randint(_LEAST_RETURN_MS, max(_LEAST_RETURN_MS, within_ms))  # noqa: S311 - to spread clients
        self._times.end()

    def _rise(self, before: dict[int, int]) -> None:
        """To the head, but not past what has just come: while it slept nothing else was for it."""
        self._is_asleep = False
        reached = {**self._node.window.heads(), **before}
        self._cursor = {p: max(offset, reached[p]) for p, offset in self._cursor.items()}
        self._woken.set()

    # The beginning.

    async def judge(self) -> Judged:
        """Find out whether the channels may be read."""
        node, after = self._node, self._start.after
        try:
            if after is not None and any(name.startswith(BY_THE_LOG) for name in self.channels):
                # What it has seen elsewhere may have ended a right that this node has not heard of yet.
                await node.replay.reach(after, node.settings.settle_seconds)
        except Unavailable as error:
            return Judged((), error)
        verdicts = await node.access.judge(self._identity, self.channels)
        unsure = next((verdict for verdict in verdicts.values() if isinstance(verdict, Unavailable)), None)
        self._is_judged = unsure is None
        return Judged([name for name, verdict in verdicts.items() if verdict is False], unsure)

    def leave_out(self, channels: Sequence[str]) -> bytes:
        """Read these no more; what is said of it."""
        self._wanted = replace(self._wanted, channels=tuple(name for name in self.channels if name not in channels))
        return b"".join(server_sent.named(messages.unsubscribed(name, self._reason(name))) for name in channels)

    async def _judge_again(self) -> bytes:
        """Where the channels could not be judged before. Raises Unavailable where they still can't."""
        denied, unsure = await self.judge()
        if unsure is not None:
            raise unsure
        return self.leave_out(denied)

    async def _begin(self) -> bytes:
        """Find where it begins; what is said of that. Raises Unavailable."""
        beginning, starts = await begin(self._node, self._start, self._wanted)
        if self._start.last is not None:
            self._wanted = replace(self._wanted, starts=starts)
        await self._learn_ends()
        self._cursor = dict(beginning.cursor)
        said, requested = [], beginning.asked
        for lost in beginning.lost:
            reached = self._node.head.token_of(lost.earliest)
            said.append(server_sent.named(messages.gap(self.channels, requested, reached, lost.reason), reached))
            requested = reached
        return b"".join(said) or server_sent.moved(self._place)

    async def _learn_ends(self) -> None:
        """Ask about the tasks, so that `caught_up` can say which have ended."""
        for channel in self.channels:
            if channel.startswith("task:"):
                try:
                    await self._node.rights.find(channel.removeprefix("task:"))
                except HistoryUnavailable:
                    return  # then the terminal event itself tells

    # What is sent.

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The stream in pieces, none of them empty, until its rights, its token or the node end."""
        self._times.told()
        yield self._greeting()
        while not self._is_over:
            try:
                async with aclosing(self._read()) as pieces:
                    async for piece in pieces:
                        self._retry = _FIRST_RETRY
                        if piece:
                            self._times.told()
                            yield piece
            except Unavailable as error:
                self._times.told()
                yield self._error(str(error), error.code, error.retry_after)
                seconds = max(self._retry, min(error.retry_after, _MAX_RETRY))
                await self._times.wait(partial(asyncio.sleep, seconds))
                self._retry = min(self._retry * 2, _MAX_RETRY)
        if farewell := self._farewell():
            yield farewell

    async def _read(self) -> AsyncGenerator[bytes, None]:
        if not self._is_judged:
            yield await self._judge_again()
        if self.channels and not self._cursor:
            yield await self._begin()
        while not self._is_over:
            heads = self._node.window.heads()
            upto = {p: max(offset, heads[p]) for p, offset in self._cursor.items()}
            source = ascending(self._node.window, self._node.replay, self._wanted, self._cursor, upto)
            async with aclosing(source) as parts:
                async for part in parts:
                    for piece in self._pieces(part):
                        yield piece
                    if self._is_over:
                        return
            yield self._leave_out_ended()
            if self._is_at_head:
                yield await self._at_head()

    def _pieces(self, part: Page | Lost) -> Iterator[bytes]:
        """What a part of the past comes to."""
        if isinstance(part, Lost):
            requested = self._place
            self._move(part.earliest)
            yield server_sent.named(messages.gap(self.channels, requested, self._place, part.reason), self._place)
            return
        for slice_ in part.slices(_PIECE_BYTES):
            yield self._leave_out_ended()
            if self._is_over:
                return
            yield self._events(slice_) or self._keepalive()

    def _events(self, page: Page) -> bytes:
        """Its events, and the cursor behind them."""
        now_ms = self._node.clock.now_ms()
        said = []
        for record in page.records:
            self._move({record.partition: record.offset})
            # A channel may have been left out since they were read.
            if self._wanted.matches(record) and not record.is_expired(now_ms):
                said.append(server_sent.event(event_payload(record), self._place))
        self._move(page.served)
        return b"".join(said)

    async def _at_head(self) -> bytes:
        """Everything was sent that this node has read: say so once, then wait for more."""
        heads = self._node.window.heads()
        if any(offset > heads[partition] for partition, offset in self._cursor.items()):
            # Ahead of this node: another one was faster.
            await self._times.wait(self._node.head.next_move)
        elif not self._is_caught_up:
            self._is_caught_up = True
            return self._caught_up(closed=False) + self._caught_up(closed=True)
        else:
            self._is_asleep = True
            self._woken.clear()
            try:
                await self._times.wait(self._woken.wait)
            finally:
                self.look()
        return self._keepalive()

    def _caught_up(self, *, closed: bool) -> bytes:
        channels = [name for name in self.channels if self._node.has_ended(name) is closed]
        if not channels:
            return b""
        return server_sent.named(messages.caught_up(channels, self._place, closed=closed), self._place)

    def _leave_out_ended(self) -> bytes:
        """The end of what may not be read any more, by what this node knows now."""
        may = self._node.access.still_may
        ended = [name for name in self.channels if not may(self._identity, name)]
        return self.leave_out(ended) if ended else b""

    def _reason(self, channel: str) -> str:
        kind, _, id_ = channel.partition(":")
        known = self._node.rights
        task = known.known(id_) if kind == "task" else None
        project = id_ if kind == "project" else task.project if task is not None else None
        return "project_deleted" if project is not None and known.rights.is_deleted(project) else "rights"

    def _error(self, message: str, code: str, retry_after: float | None = None) -> bytes:
        return server_sent.named(messages.error(message, code, self._node.clock.now_ms(), retry_after=retry_after))

    def _greeting(self) -> bytes:
        """When to come back and, where that is known already, from where."""
        after = self._start.after
        place = b"" if after is None or after.is_earliest else server_sent.moved(after.token)
        return server_sent.retry(randint(*_RETURN_MS)) + place  # noqa: S311 - as above

    def _farewell(self) -> bytes:
        if self._times.is_ended:
            return server_sent.retry(self._return_ms)
        return self._error("Token expired", "token_expired") if self._times.is_expired else b""

    def _keepalive(self) -> bytes:
        """The place alone, where nothing was said for long."""
        return server_sent.moved(self._place) if self._times.is_keepalive_due else b""

    # Where it stands.

    @property
    def _place(self) -> str:
        return self._node.head.token_of(self._cursor)

    @property
    def _is_over(self) -> bool:
        return not self.channels or self._times.is_over

    @property
    def _is_at_head(self) -> bool:
        """At the head of this node, or ahead of it."""
        heads = self._node.window.heads()
        return not self._is_over and all(offset >= heads[partition] for partition, offset in self._cursor.items())

    def _move(self, served: Mapping[int, int]) -> None:
        for partition, offset in served.items():
            self._cursor[partition] = max(self._cursor[partition], offset)
