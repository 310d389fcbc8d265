"""One client's connection: driven by calls, without a task, queue or timer of its own."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial

from lastseen import close_codes
from lastseen.positions import Position
from pydantic import JsonValue

from service.domain import messages
from service.domain.frames import message_frame
from service.domain.identity import Identity
from service.domain.messages import Message, Start
from service.domain.pings import UnansweredPings
from service.domain.protocol import GOODBYES, TABLE, Action, Input, State
from service.domain.requests import ProtocolError, parse_message
from service.domain.subscriptions import CatchUp, Offline, Subscriptions
from service.node.connection_port import ConnectionPort
from service.node.flow import Flow
from service.node.replay import Beginning, Lost, Page
from service.node.replayed import frames_of, frames_of_window
from service.node.services import Services
from service.node.slots import NONE
from service.ports import CursorKey

_log = logging.getLogger(__name__)
_WINDOW_PAGE = 256
_WINDOW_PAGE_BYTES = 128 * 1024
"""What one step takes out of the window, per partition: so many records, or one more than so many bytes."""

# A ping says the same to thousands.
_position = lru_cache(maxsize=64)(Position.parse)


class Connection:
    """What one client has subscribed to, and what it is owed.

    Whoever carries it opens it once (`service.node.opening`), calls `receive` for each message (one at a time),
    `drained` whenever the port's buffer has fallen to `low_water`, and `gone` at the end.
    """

    __slots__ = (
        "__weakref__",
        "_heard_at",
        "_is_gone",
        "_pings",
        "_port",
        "_state",
        "client_id",
        "flow",
        "id",
        "identity",
        "keeps_cursor",
        "node",
        "project",
        "slot",
        "subscriptions",
    )

    def __init__(self, node: Services, port: ConnectionPort, identity: Identity, connection_id: str) -> None:
        self.node = node
        self._port = port
        self.flow = Flow(port, node.settings.high_water_bytes)
        """How much the client lets be written to it."""
        self._state = State.OPENING
        # What the state CLOSED means, as one attribute: it is asked for each delivery.
        self._is_gone = False
        self._pings = UnansweredPings()
        self.id = connection_id
        self.identity = identity
        self.project: str | None = None
        """The project that the client connected with."""
        self.client_id = ""
        """Names the durable cursor; empty for the one that clients without a name share."""
        self.keeps_cursor = False
        """Whether all that came while the user was away is being delivered: only then the cursor may move."""
        self.subscriptions = Subscriptions()
        self.slot = NONE
        """Its number in the fan-out."""
        self._heard_at = node.clock.now_ms()

    @property
    def is_gone(self) -> bool:
        """Whether nothing reaches the client any more."""
        return self._is_gone

    @property
    def cursor(self) -> CursorKey:
        """User and client whose durable cursor this connection moves."""
        return CursorKey(self.identity.user_id, self.client_id)

    @property
    def user_channel(self) -> str:
        """The channel of the connection's own user."""
        return f"user:{self.identity.user_id}"

    def _take(self, what: Input) -> Action:
        step = TABLE[self._state][what]
        self._state = step.state
        return step.action

    # What the client says.

    async def receive(self, text: str | bytes) -> None:
        """Act on a message of the client."""
        rest = self.receive_at_once(text)
        if rest is not None:
            await rest()

    def receive_at_once(self, text: str | bytes) -> Callable[[], Awaitable[None]] | None:
        """The same without waiting: what has to be called and awaited for it is given back, mostly nothing."""
        self._heard_at = self.node.clock.now_ms()
        if self._take(Input.MESSAGE) is not Action.ACT:
            return None
        ref: JsonValue = None
        try:
            message = parse_message(text)
            ref = message.ref
            rest = self.node.handlers.begin(self, message)
        except ProtocolError as error:
            # Not the error itself: its traceback has whoever is given this, and all would wait for the collector.
            return partial(self._refuse, str(error), error.code, error.ref)
        except Exception:  # noqa: BLE001 - one message, of a deployment's own type perhaps, must not end the others'
            self._failed(ref)
            return None
        return None if rest is None else partial(self._act, rest, ref)

    async def _act(self, rest: Callable[[], Awaitable[None]], ref: JsonValue) -> None:
        try:
            await rest()
        except ProtocolError as error:
            await self._refuse(str(error), error.code, error.ref)
        except Exception:  # noqa: BLE001 - as above
            self._failed(ref)

    async def _refuse(self, problem: str, code: str, ref: JsonValue) -> None:
        await self.room_to_answer()
        self.fail(problem, code, ref=ref)

    def _failed(self, ref: JsonValue) -> None:
        _log.exception("a message of connection %s failed", self.id)
        self.fail("Message processing error", "processing_error", ref=ref)

    def answer(self, message: Message) -> None:
        """Send a message."""
        self._write(message_frame(message))

    def fail(
        self,
        message: str,
        code: str,
        *,
        ref: JsonValue = None,
        channel: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Send an error; the connection stays."""
        now_ms = self.node.clock.now_ms()
        self.answer(messages.error(message, code, now_ms, ref=ref, channel=channel, retry_after=retry_after))

    async def room_to_answer(self) -> None:
        """As `Flow.room_to_answer`: for handlers, before they answer."""
        await self.flow.room_to_answer()

    def is_alive(self, since_ms: int) -> bool:
        """Whether it has given a sign of life since then; to be asked at each heartbeat."""
        # Where its messages are not read now, that it takes what was written is its sign of life.
        if self.flow.has_moved():
            self._heard_at = self.node.clock.now_ms()
        return self._heard_at > since_ms

    # Subscriptions.

    def greet(self, starts: Sequence[Start]) -> bool:
        """Say the first message; False where there is nobody to say it to."""
        if self._take(Input.ADMITTED) is not Action.GREET:
            return False
        self.node.presence.connected(self.id, self.identity.user_id, self.project)
        self.answer(
            messages.connection_established(
                connection_id=self.id,
                now_ms=self.node.clock.now_ms(),
                user_id=self.identity.user_id,
                node=self.node.settings.instance_id,
                heartbeat_seconds=self.node.settings.heartbeat_seconds,
                starts=starts,
            )
        )
        # An end that came near while the beginning was looked for could not be told before.
        self.node.heartbeat.expire(self)
        return True

    def begin_live(self, channel: str, head: Mapping[int, int]) -> CatchUp | None:
        """Subscribe from the head on; the catch-up that the channel had to join, if any."""
        if self._is_gone:
            return None  # it went while the request was judged
        joined = self.subscriptions.begin(channel, head)
        self.node.connections.watch(channel, self)
        if joined is None:
            self.node.fanout.add(channel, self)
        return joined

    def catch_up(
        self,
        channels: Sequence[str],
        beginning: Beginning,
        starts: Mapping[str, Mapping[int, int]] | None = None,
    ) -> None:
        """Start the channels together, as the client asked: its stream begins with the gaps.

        `starts` are those of the channels, where they are not all that of the beginning.
        """
        if self._is_gone:
            return  # it went while the request was judged
        for channel in channels:
            self.node.fanout.remove(channel, self)
        group = self.subscriptions.start(starts or dict.fromkeys(channels, beginning.cursor))
        self._begin(group, beginning)

    def catch_up_offline(self, beginning: Beginning, offline: Offline) -> CatchUp | None:
        """Start to deliver what came to the user while away; the catch-up, where that is not done at once."""
        group = self.subscriptions.start_offline(offline, beginning.cursor, self.node.window.heads())
        self._begin(group, beginning)
        return group if group.channels else None

    def _begin(self, group: CatchUp, beginning: Beginning) -> None:
        for channel in group.channels:
            self.node.connections.watch(channel, self)
        requested = beginning.asked
        for lost in beginning.lost:
            requested = self._send_gap(group, requested, lost)
        # What was missed is mostly short, and in memory: without a task, and without others having to join.
        if not self._can_begin_now(group) or not self.deliver_window(group):
            self.node.pull(self, group)

    def end_subscription(self, channel: str) -> None:
        """End it, if there is one."""
        self.node.fanout.remove(channel, self)
        self.node.connections.unwatch(channel, self)
        if channel == self.user_channel:
            # What comes until it is subscribed again would be passed over.
            self.keeps_cursor = False
        self.subscriptions.remove(channel)

    def still_may(self, channel: str) -> bool:
        """Whether the client may go on reading a channel that it was granted, by what this node knows now."""
        return self.node.access.still_may(self.identity, channel)

    def judge_again(self, channels: Sequence[str], reason: str) -> None:
        """Rights have changed: end those of these subscriptions that may not go on."""
        for channel in channels:
            ended = channel in self.subscriptions and not self.still_may(channel)
            if ended and self._take(Input.RIGHT_ENDED) is Action.UNSUBSCRIBE:
                self.unsubscribe(channel, reason)

    def unsubscribe(self, channel: str, reason: str) -> None:
        """End a subscription and say why."""
        self.end_subscription(channel)
        self.answer(messages.unsubscribed(channel, reason))

    # What the client is owed.

    def descriptor(self) -> int:
        """As `ConnectionPort.descriptor`."""
        return NONE if self._is_gone else self._port.descriptor()

    def waits(self) -> None:
        """The port is about to write by itself, or to end: nothing live may overtake that."""
        self.node.fanout.wait(self)

    def send(self, frames: bytes) -> None:
        """Send live frames of one step behind what waits; a client too slow for them catches up from here on."""
        if self._is_gone:
            return
        self._port.write(frames)
        if self.flow.is_full:
            self._fall_behind()

    def _fall_behind(self) -> None:
        if self._take(Input.OVERFLOW) is not Action.FALL_BEHIND:
            return
        fallen = self.subscriptions.fall_behind(self.node.window.heads())
        if fallen is None:
            return
        group, channels = fallen
        for channel in channels:
            self.node.fanout.remove(channel, self)
        self.answer(messages.fell_behind(channels, self.node.head.token))
        if not group.pulling:
            self.node.pull(self, group)

    def deliver(self, group: CatchUp, page: Page | Lost) -> None:
        """Send a page of a replay and move the cursor."""
        if self._take(Input.PAGE) is not Action.WRITE:
            return
        if isinstance(page, Lost):
            self._send_gap(group, self.node.head.token_of(group.cursor), page)
            return
        frames = frames_of(page, group, self.node)
        for partition, offset in page.served.items():
            group.served(partition, offset)
        if frames:
            self._write(frames)

    def deliver_window(self, group: CatchUp) -> bool:
        """Send what the window holds next; True once the head is reached and the channels are live.

        The last read and the change to live are one step of the event loop: nothing comes between. The
        cursor has to be within the window, or ahead of it (then nothing happens until the tail passes it).
        """
        with self.flow.together():
            return self._deliver_window(group)

    def _deliver_window(self, group: CatchUp) -> bool:
        window = self.node.window
        waiting = window.waiting(group.channels, group.cursor)
        for partition, channels in waiting.items():
            read = window.read(channels, partition, group.cursor[partition], _WINDOW_PAGE, _WINDOW_PAGE_BYTES)
            if self._take(Input.PAGE) is not Action.WRITE:
                return False
            frames = frames_of_window(read, group, self.node)
            if frames:
                self._write(frames)
            group.served(partition, read.served)
            if self.flow.is_full:
                return False
        if not group.reached(window.heads(), waiting):
            return False
        if group.offline is not None and group.is_ahead_of(window.heads()):
            return False
        self._finish(group)
        return True

    def _can_begin_now(self, group: CatchUp) -> bool:
        """Whether nobody has to be asked, the client takes what it is sent, and no other catch-up has its turn."""
        if any(other.pulling for other in self.subscriptions.catch_ups) or not self.flow.has_room:
            return False
        knows_ends = not group.asked or all(map(self.node.knows_end, group.channels))
        return knows_ends and self.node.window.holds(group.cursor)

    def _finish(self, group: CatchUp) -> None:
        channels = self.subscriptions.finish(group)
        token = self.node.head.token
        ended = [channel for channel in channels if self.node.has_ended(channel)]
        running = [channel for channel in channels if channel not in ended]
        for channel in channels:
            self.node.fanout.add(channel, self)
        if running:
            self.answer(messages.caught_up(running, token, closed=False))
        if ended:
            self.answer(messages.caught_up(ended, token, closed=True))
        if group.offline is not None:
            # Its answer moves the durable cursor past what has just been delivered.
            self.ping(message_frame(messages.ping(self.node.clock.now_ms(), token)), token)

    def _send_gap(self, group: CatchUp, requested: str, lost: Lost) -> str:
        reached = self.node.head.token_of(lost.earliest)
        for partition, offset in lost.earliest.items():
            group.served(partition, offset)
        self.answer(messages.gap(list(group.channels), requested, reached, lost.reason))
        return reached

    # Time.

    def ping(self, frame: bytes, token: str) -> None:
        """Send the node's heartbeat, which says `token`, unless the client has more to read than it takes."""
        if self.begin_ping(token):
            self._write(frame)

    def begin_ping(self, token: str) -> bool:
        """The same, to be sent by whoever called this, in this step; false where it is not to be sent."""
        if not self.flow.has_room_to_answer or self._take(Input.HEARTBEAT) is not Action.PING:
            return False
        moves = self.keeps_cursor and self.user_channel in self.subscriptions.live
        self._pings.sent(token if moves else "")
        return True

    def pinged(self) -> Position | None:
        """The position of the ping that a `pong` answers, where the durable cursor may move there."""
        token = self._pings.answered()
        return _position(token) if token else None

    def expiry_near(self) -> None:
        """The token ends within a minute."""
        if self._take(Input.EXPIRY_NEAR) is Action.WARN:
            self.answer(messages.token_expiring(self.identity.expires_at))

    def renew(self, identity: Identity) -> None:
        """Go on as the same user with another token."""
        self.identity = identity
        self._take(Input.RENEWED)
        self.node.heartbeat.expire(self)

    # What is written, and the end.

    def _write(self, frame: bytes) -> None:
        if not self._is_gone:
            self.flow.write(frame)

    @property
    def buffered(self) -> int:
        """Bytes written that the client has not taken yet."""
        return 0 if self._is_gone else self._port.buffered()

    def drained(self) -> None:
        """The port's buffer has fallen to `low_water`."""
        self.flow.drained()

    def end(self, why: Input) -> None:
        """End the conversation with the goodbye that the protocol has for it."""
        self.close(*GOODBYES[why], why=why)

    def go_away(self, within_ms: int) -> None:
        """End the conversation because the node does; the client is to come back within so long."""
        reason = close_codes.going_away(GOODBYES[Input.GOING_AWAY][1], within_ms)
        self.close(close_codes.GOING_AWAY, reason, why=Input.GOING_AWAY)

    def close(self, code: int, reason: str, *, why: Input = Input.REFUSED) -> None:
        """End the conversation behind what has been written."""
        if self._take(why) is Action.CLOSE:
            self.flow.write_held()
            self._release()
            self._port.close(code, reason)

    def abort(self) -> None:
        """Drop the connection, whatever waits in it."""
        if self._take(Input.LOST) is Action.RELEASE:
            self._release()
            self._port.abort()

    def gone(self) -> None:
        """The client can't be reached any more: give everything back."""
        if self._take(Input.LOST) is Action.RELEASE:
            self._release()

    def _release(self) -> None:
        self._is_gone = True
        for channel in self.subscriptions.channels:
            self.end_subscription(channel)
        self.node.fanout.leave(self)
        self.flow.over()
