"""What the server says, handed on: events to the streams of their channels, and notices to whom they concern."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from lastseen.asking import Asking
from lastseen.backoff import Backoff
from lastseen.errors import AccessDenied, BadRequest, Ended, LastseenError
from lastseen.line import Line
from lastseen.notices import (
    Answer,
    Ask,
    Begun,
    CaughtUp,
    Delivery,
    Established,
    FellBehind,
    Gap,
    Message,
    Notice,
    OfflineDelayed,
    Ping,
    Refused,
    TokenExpiring,
    Unsubscribed,
)
from lastseen.positions import Position
from lastseen.renewal import Renewal
from lastseen.session import Session
from lastseen.stream import Moved, Passed, Received, Stream
from lastseen.tasks import Tasks

_log: Final = logging.getLogger(__name__)


class Delivering:
    """Takes the messages of all connections of a client, one after the other.

    `on_ended(channel)` is called when the server has ended a subscription for good. With `auto_ack` what the reader
    of the own user channel has dealt with is confirmed by itself.
    """

    def __init__(
        self,
        session: Session,
        line: Line,
        asking: Asking,
        renewal: Renewal,
        tasks: Tasks,
        *,
        auto_ack: bool,
        on_ended: Callable[[str], None],
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.is_established = False
        """Whether the present connection was greeted; whoever makes one sets it back."""
        self._session = session
        self._line = line
        self._asking = asking
        self._renewal = renewal
        self._tasks = tasks
        self._auto_ack = auto_ack
        self._on_ended = on_ended
        self._come_again = Backoff(base=4.0, cap=240.0)

    async def handle(self, message: Message, size: int) -> None:
        """Take a message of `size` bytes. Waits for room in the streams. Raises ProtocolError."""
        for item in self._session.receive(message):
            if isinstance(item, Delivery):
                for channel in item.channels:
                    stream = self.streams.get(channel)
                    position = self._session.position(channel)
                    if stream is not None and stream.begun and position is not None:
                        await stream.put(Received(item.event, position), size)
                        if stream.ended:
                            self.leave(stream)
            else:
                await self._notice(item)

    def leave(self, stream: Stream) -> None:
        """Nobody reads it any more."""
        if self.streams.get(stream.channel) is not stream:
            return
        del self.streams[stream.channel]
        self._session.leave(stream.channel)
        if stream.channel in self._session.automatic:
            return  # its position is needed to come back
        self._line.send(self._session.unsubscribe(stream.channel))

    def finish(self, stream: Stream, error: LastseenError | None = None) -> None:
        """Nothing more comes for it."""
        stream.end(error)
        self.leave(stream)

    def end(self, error: LastseenError) -> None:
        """Nothing more comes for any."""
        for stream in list(self.streams.values()):
            stream.end(error)

    async def _notice(self, notice: Notice) -> None:
        match notice:
            case Established():
                self.is_established = True
                if self._line.connection is not None:
                    self._line.connection.beat(notice.heartbeat)
            case Begun(channel=channel):
                if (stream := self.streams.get(channel)) is not None:
                    stream.begun = stream.begun or notice.answers or stream.begins_with_connection
                    if stream.begun:
                        await self._moved(stream)
            case CaughtUp(channels=channels):
                for stream in self._of(channels):
                    await self._moved(stream, caught_up=True)
                    if notice.closed:
                        self.finish(stream)
                if not self._session.owes_offline:
                    self._come_again.reset()
            case Gap(channels=channels) | FellBehind(channels=channels):
                for stream in self._of(channels):
                    await stream.put(notice)
                    await self._moved(stream)
            case Unsubscribed(channel=channel, reason=reason):
                if reason is not None:
                    self._on_ended(channel)
                    if (stream := self.streams.get(channel)) is not None:
                        self.finish(stream, Ended(channel, reason))
            case OfflineDelayed(channel=channel):
                if (stream := self.streams.get(channel)) is not None:
                    await stream.put(notice)
                    self._tasks.start(self._come_for_offline(notice.retry_after), "coming for offline messages")
            case Ping():
                await self._answer_ping()
            case Refused():
                self._refused(notice)
            case TokenExpiring():
                self._renewal.expiring()
            case Ask(message=message):
                self._line.send(message)
            case Answer(message=message):
                if not self._asking.take(message) and not self._renewal.take(message):
                    _log.debug("not asked for: %s", message.get("type"))

    async def _answer_ping(self) -> None:
        # Never by a pong: it would confirm what came before the ping, whether somebody has read it or not.
        self._line.send({"type": "ping"})
        for stream in self._of(self._session.live):
            await self._moved(stream)
        position = self._session.confirmable
        mine = self.streams.get(self._session.user_channel or "")
        if self._auto_ack and position is not None and mine is not None and mine.begun:
            await mine.put(Passed(lambda: self._confirm(position)))

    def _confirm(self, position: Position) -> None:
        if position.epoch == self._session.epoch:
            self._line.send({"type": "ack", "position": position.token})

    async def _come_for_offline(self, retry_after: float) -> None:
        connection = self._line.connection
        await asyncio.sleep(retry_after + self._come_again.next())
        mine = self.streams.get(self._session.user_channel or "")
        if connection is self._line.connection and mine is not None and self._session.owes_offline:
            self._line.drop("what came while away may be had now")

    def _refused(self, refused: Refused) -> None:
        stream = self.streams.get(refused.channel)
        if stream is None:
            return
        if refused.channel in self._session.wanted:
            delay = refused.retry_after if refused.retry_after is not None else 1.0
            self._tasks.start(self._ask_again(stream, delay), f"asking again for {stream.channel}")
        elif refused.code == "access_denied":
            denied = f"{refused.message}: {refused.channel}"
            self.finish(stream, AccessDenied(denied, code=refused.code, channel=refused.channel))
        else:
            self.finish(stream, BadRequest(f"{refused.channel}: {refused.message}", code=refused.code))

    async def _ask_again(self, stream: Stream, delay: float) -> None:
        connection = self._line.connection
        await asyncio.sleep(delay)
        # A new connection has asked already.
        if connection is self._line.connection and self.streams.get(stream.channel) is stream:
            self._line.send(self._session.subscribe(stream.channel))

    def _of(self, channels: tuple[str, ...]) -> list[Stream]:
        return [s for c in channels if (s := self.streams.get(c)) is not None and s.begun]

    async def _moved(self, stream: Stream, *, caught_up: bool = False) -> None:
        position = self._session.position(stream.channel)
        if position is not None:
            await stream.put(Moved(position, caught_up=caught_up))
