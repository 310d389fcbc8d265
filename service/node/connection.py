"""One client's connection: driven by calls, without a task, queue or timer of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from lastseen import close_codes
from lastseen.channels import BROADCAST
from lastseen.positions import Position

from service.domain import protocol
from service.domain.errors import Unavailable
from service.domain.frames import message_frame, replay_frame
from service.domain.identity import Identity
from service.domain.protocol import Message, ProtocolError, Start
from service.domain.subscriptions import CatchUp, Subscriptions
from service.node.replay import Beginning, Lost, Page
from service.node.services import Services

_WINDOW_PAGE = 256
_WINDOW_PAGE_BYTES = 128 * 1024
"""What one step takes out of the window, per partition: so many records, or one more than so many bytes."""


class ConnectionPort(Protocol):
    """What carries a connection."""

    def write(self, frames: bytes) -> None:
        """Send ready frames, in order; never waits."""
        ...

    def buffered(self) -> int:
        """Bytes written that the network has not taken yet."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye behind what has been written."""
        ...

    def abort(self) -> None:
        """Drop the connection with what has been written."""
        ...


class Connection:
    """What one client has subscribed to, and what it is owed.

    Whoever carries it calls `open` once, `receive` for each message (one at a time), `drained` whenever the
    port's buffer has fallen to `low_water`, and `gone` at the end.
    """

    __slots__ = (
        "_buffered",
        "_heard_at",
        "_is_gone",
        "_is_waiting",
        "_port",
        "_room",
        "id",
        "identity",
        "node",
        "pending",
        "subscriptions",
    )

    def __init__(self, node: Services, port: ConnectionPort, identity: Identity, connection_id: str) -> None:
        self.node = node
        self._port = port
        self._room: asyncio.Event | None = None
        self._is_gone = False
        self._is_waiting = False
        self._buffered = 0
        self.id = connection_id
        self.identity = identity
        self.subscriptions = Subscriptions()
        self.pending: list[bytes] = []
        self._heard_at = node.clock.now_ms()

    @property
    def is_gone(self) -> bool:
        """Whether nothing reaches the client any more."""
        return self._is_gone

    async def open(self, project_id: str | None, after: str | None) -> None:
        """Greet the client and begin the automatic subscriptions, or close with the reason."""
        channels = [f"user:{self.identity.user_id}", BROADCAST]
        if project_id is not None:
            channels.append(f"project:{project_id}")
            may_read = (await self.node.access.judge(self.identity, [channels[-1]]))[channels[-1]]
            if isinstance(may_read, Unavailable):
                self.close(close_codes.TRY_AGAIN_LATER, "Rights not known now")
                return
            if not may_read:
                self.close(close_codes.POLICY, "Project access denied")
                return
        if after is None:
            head = self.node.window.heads()
            for channel in channels:
                self._begin_live(channel, head)
            self._greet([Start(channel, self.node.head.token, live=True) for channel in channels])
            return
        try:
            beginning = await self.node.replay.begin(Position.parse(after))
        except ValueError as error:
            self._send(self._error(str(error), "invalid_position"))
            self.close(close_codes.POLICY, "Invalid position")
            return
        except Unavailable as error:
            self._send(self._error(str(error), error.code, retry_after=error.retry_after))
            self.close(close_codes.TRY_AGAIN_LATER, "Replay not possible now")
            return
        recovered = not beginning.lost
        self._greet([Start(channel, beginning.asked, live=False, recovered=recovered) for channel in channels])
        self._catch_up(channels, beginning)

    async def receive(self, text: str | bytes) -> None:
        """Act on a message of the client."""
        self._heard_at = self.node.clock.now_ms()
        try:
            match protocol.parse_request(text):
                case protocol.Pong():
                    pass
                case protocol.Ping(ref):
                    # Whoever asks without reading is known to live, and needs no more answers.
                    if self._has_room_to_answer:
                        self._send(protocol.pong(self.node.clock.now_ms(), ref))
                case protocol.Subscribe() as request:
                    await self._room_to_answer()
                    await self._subscribe(request)
                case protocol.Unsubscribe(channels, ref):
                    await self._room_to_answer()
                    for channel in channels:
                        self._end(channel)
                        self._send(protocol.unsubscription_result(channel, ref))
        except ProtocolError as error:
            await self._room_to_answer()
            self._send(self._error(str(error), error.code, ref=error.ref))

    @property
    def _has_room_to_answer(self) -> bool:
        # More than a replay ever leaves waiting, so that a request gets its turn while one is under way.
        return self._is_gone or self._port.buffered() <= 2 * self.node.settings.high_water_bytes

    async def _room_to_answer(self) -> None:
        """Wait until the client has taken enough of what was written; its further messages wait with it."""
        while not self._has_room_to_answer:
            self._is_waiting = True
            try:
                await self._drain()
            finally:
                self._is_waiting = False

    def is_alive(self, since_ms: int) -> bool:
        """Whether it has given a sign of life since then; to be asked at each heartbeat."""
        if self._is_waiting:
            # Its messages are not read now, so that it takes what was written is its sign of life.
            buffered, self._buffered = self._buffered, self._port.buffered()
            if buffered != self._buffered:
                self._heard_at = self.node.clock.now_ms()
        return self._heard_at > since_ms

    async def _subscribe(self, request: protocol.Subscribe) -> None:
        granted = await self._granted(request)
        if not granted:
            return
        if request.after is None:
            for channel in granted:
                self._subscribe_now(channel, request)
            return
        try:
            beginning = await self.node.replay.begin(request.after)
        except Unavailable as error:
            for channel in granted:
                self._refuse(request, channel, str(error), error.code, retry_after=error.retry_after)
            return
        for channel in granted:
            self._send(protocol.subscription_result(channel, beginning.asked, not beginning.lost, request.ref))
        self._catch_up(granted, beginning)

    async def _granted(self, request: protocol.Subscribe) -> list[str]:
        """The channels of a request that may be read; each other one is answered."""
        granted = []
        for channel, verdict in (await self.node.access.judge(self.identity, request.channels)).items():
            if isinstance(verdict, Unavailable):
                self._refuse(request, channel, str(verdict), verdict.code, retry_after=verdict.retry_after)
            elif verdict:
                granted.append(channel)
            else:
                self._refuse(request, channel, "Channel access denied", "access_denied")
        new = [channel for channel in granted if channel not in self.subscriptions]
        room = self.node.settings.max_subscriptions - len(self.subscriptions)
        for channel in new[max(room, 0) :]:
            granted.remove(channel)
            limit = self.node.settings.max_subscriptions
            problem = f"At most {limit} subscriptions a connection: unsubscribe others first"
            self._refuse(request, channel, problem, "too_many_subscriptions")
        return granted

    def _refuse(
        self, request: protocol.Subscribe, channel: str, message: str, code: str, retry_after: float | None = None
    ) -> None:
        self._send(self._error(message, code, ref=request.ref, channel=channel[:200], retry_after=retry_after))

    def _subscribe_now(self, channel: str, request: protocol.Subscribe) -> None:
        head = self.node.window.heads()
        if channel in self.subscriptions:
            group = self.subscriptions.catch_up_of(channel)
            served = head if group is None else group.served_of(channel)
            token = self.node.head.token_of(served)
            self._send(protocol.subscription_result(channel, token, None, request.ref))
            return
        joined = self._begin_live(channel, head)
        self._send(protocol.subscription_result(channel, self.node.head.token, None, request.ref))
        if joined is not None:
            self._send(protocol.fell_behind([channel], self.node.head.token))

    def _begin_live(self, channel: str, head: Mapping[int, int]) -> CatchUp | None:
        if self._is_gone:
            return None  # it went while the request was judged
        joined = self.subscriptions.begin(channel, head)
        if joined is None:
            self.node.fanout.add(channel, self)
        return joined

    def _catch_up(self, channels: Sequence[str], beginning: Beginning) -> None:
        """Start the channels together, as the client asked: its stream begins with the gaps."""
        if self._is_gone:
            return  # it went while the request was judged
        for channel in channels:
            self.node.fanout.remove(channel, self)
        group = self.subscriptions.start(channels, beginning.cursor, asked=True)
        requested = beginning.asked
        for lost in beginning.lost:
            requested = self._send_gap(group, requested, lost)
        self.node.pull(self, group)

    def _end(self, channel: str) -> None:
        self.node.fanout.remove(channel, self)
        self.subscriptions.remove(channel)

    def send(self, frames: bytes) -> None:
        """Send the live frames of one step; a client too slow for them catches up from here on."""
        if self._is_gone:
            return
        self._port.write(frames)
        if self._port.buffered() > self.node.settings.high_water_bytes:
            self._fall_behind()

    def _fall_behind(self) -> None:
        fallen = self.subscriptions.fall_behind(self.node.window.heads())
        if fallen is None:
            return
        group, channels = fallen
        for channel in channels:
            self.node.fanout.remove(channel, self)
        self._send(protocol.fell_behind(channels, self.node.head.token))
        if not group.pulling:
            self.node.pull(self, group)

    def deliver(self, group: CatchUp, page: Page | Lost) -> None:
        """Send a page of a replay and move the cursor."""
        if isinstance(page, Lost):
            self._send_gap(group, self.node.head.token_of(group.cursor), page)
            return
        now_ms = self.node.clock.now_ms()
        frames = [
            replay_frame(record, channels)
            for record in page.records
            if not record.is_expired(now_ms) and (channels := group.counts_for(record))
        ]
        for partition, offset in page.served.items():
            group.served(partition, offset)
        if frames:
            self._write(b"".join(frames))

    def deliver_window(self, group: CatchUp) -> bool:
        """Send what the window holds next; True once the head is reached and the channels are live.

        The last read and the change to live are one step of the event loop: nothing comes between. The
        cursor has to be within the window, or ahead of it (then nothing happens until the tail passes it).
        """
        window = self.node.window
        channels = list(group.channels)
        for partition in window.partitions:
            after = group.cursor[partition]
            if after + 1 < window.next(partition):
                read = window.read(channels, partition, after, _WINDOW_PAGE, _WINDOW_PAGE_BYTES)
                self.deliver(group, Page(read.records, {partition: read.served}))
                if self._port.buffered() > self.node.settings.high_water_bytes:
                    return False
        if any(group.cursor[partition] != window.next(partition) - 1 for partition in window.partitions):
            return False
        self._finish(group)
        return True

    def _finish(self, group: CatchUp) -> None:
        channels = self.subscriptions.finish(group)
        token = self.node.head.token
        ended = [channel for channel in channels if self.node.has_ended(channel)]
        running = [channel for channel in channels if channel not in ended]
        for channel in channels:
            self.node.fanout.add(channel, self)
        if running:
            self._send(protocol.caught_up(running, token, closed=False))
        if ended:
            self._send(protocol.caught_up(ended, token, closed=True))

    def ping(self, frame: bytes) -> None:
        """Send the node's heartbeat, unless the client has more to read already than it takes."""
        if self._has_room_to_answer:
            self._write(frame)

    def _send_gap(self, group: CatchUp, requested: str, lost: Lost) -> str:
        reached = self.node.head.token_of(lost.earliest)
        for partition, offset in lost.earliest.items():
            group.served(partition, offset)
        self._send(protocol.gap(list(group.channels), requested, reached, lost.reason))
        return reached

    def _greet(self, starts: Sequence[Start]) -> None:
        self._send(
            protocol.connection_established(
                connection_id=self.id,
                now_ms=self.node.clock.now_ms(),
                user_id=self.identity.user_id,
                node=self.node.settings.instance_id,
                heartbeat_seconds=self.node.settings.heartbeat_seconds,
                starts=starts,
            )
        )

    def unavailable(self, error: Unavailable) -> None:
        """Tell that a replay has to wait; the node goes on with it by itself."""
        self._send(self._error(str(error), error.code, retry_after=error.retry_after))

    def _error(self, message: str, code: str, **more: object) -> Message:
        return protocol.error(message, code, self.node.clock.now_ms(), **more)  # type: ignore[arg-type]

    def _send(self, message: Message) -> None:
        self._write(message_frame(message))

    def _write(self, frame: bytes) -> None:
        if not self._is_gone:
            self._port.write(frame)

    @property
    def has_room(self) -> bool:
        """Whether a replay may go on."""
        return self._is_gone or self._port.buffered() <= self.node.low_water

    async def room(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""
        while not self.has_room:
            await self._drain()

    async def _drain(self) -> None:
        if self._room is None:
            self._room = asyncio.Event()
        await self._room.wait()

    def drained(self) -> None:
        """The port's buffer has fallen to `low_water`."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def close(self, code: int, reason: str) -> None:
        """End the conversation behind what has been written."""
        if not self._is_gone:
            self.gone()
            self._port.close(code, reason)

    def abort(self) -> None:
        """Drop the connection, whatever waits in it."""
        if not self._is_gone:
            self.gone()
            self._port.abort()

    def gone(self) -> None:
        """The client can't be reached any more: give everything back."""
        self._is_gone = True
        for channel in self.subscriptions.channels:
            self._end(channel)
        self.drained()
