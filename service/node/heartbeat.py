"""The times of connections, without a timer for each: heartbeats, silence, and the ends of tokens."""

from typing import Final

from service.domain import messages
from service.domain.frames import message_frame
from service.domain.protocol import Input
from service.domain.renewal import Due, next_due
from service.node.connection import Connection
from service.node.fanout import Fanout
from service.node.head import Head
from service.ports import Clock
from service.settings import Settings

TICK_SECONDS: Final = 1.0


class Heartbeat:
    """Pings each connection every `heartbeat_seconds`, spread over them; ends the silent and the expired.

    `tick` is called every second.
    """

    def __init__(self, settings: Settings, clock: Clock, head: Head, fanout: Fanout[Connection]) -> None:
        self._clock = clock
        self._head = head
        self._fanout = fanout
        self._timeout_seconds = settings.heartbeat_timeout_seconds
        self._leeway_seconds = settings.jwt_leeway_seconds
        self._slots: list[set[Connection]] = [set() for _ in range(settings.heartbeat_seconds)]
        self._slot_of: dict[Connection, set[Connection]] = {}
        self._next_slot = 0
        # By the second at which something is due because of a token.
        self._due: dict[int, dict[Connection, Due]] = {}
        self._due_of: dict[Connection, int] = {}

    def add(self, connection: Connection) -> None:
        """Begin to beat for a connection."""
        slot = self._slot_of[connection] = self._slots[self._next_slot]
        slot.add(connection)
        self.expire(connection)

    def remove(self, connection: Connection) -> None:
        """It has left."""
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.discard(connection)
        self._forget(connection)

    def expire(self, connection: Connection, *, told: bool = False) -> None:
        """Watch the end of the token that the connection has now; `told`: the client knows that it is near."""
        if connection not in self._slot_of:
            return
        what, at_ms = next_due(connection.identity.expires_at, self._leeway_seconds, told=told)
        second = -(-at_ms // 1000)
        due = self._due.get(second)
        if due is not None and due.get(connection) is what:
            return
        self._forget(connection)
        self._due.setdefault(second, {})[connection] = what
        self._due_of[connection] = second

    def tick(self) -> None:
        """Do what is due."""
        now_ms = self._clock.now_ms()
        now = now_ms // 1000
        for second in sorted(second for second in self._due if second <= now):
            for connection, what in self._due.pop(second).items():
                del self._due_of[connection]
                if what is Due.CLOSE:
                    connection.end(Input.EXPIRED)
                else:
                    connection.expiry_near()
                    self.expire(connection, told=True)
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        self._beat(self._slots[self._next_slot], now_ms)

    def _beat(self, slot: set[Connection], now_ms: int) -> None:
        # A second of grace: the tick that is due may come a little early.
        silent_since = now_ms - (self._timeout_seconds - 1) * 1000
        token = self._head.token
        pinged = []
        for connection in list(slot):
            if not connection.is_alive(silent_since):
                connection.end(Input.SILENCE)
            elif connection.begin_ping(token):
                pinged.append(connection)
        # All get the same: as with events, in one call past the transports.
        self._fanout.send_to(pinged, message_frame(messages.ping(now_ms, token)))

    def _forget(self, connection: Connection) -> None:
        second = self._due_of.pop(connection, None)
        if second is not None and second in self._due:
            self._due[second].pop(connection, None)
            if not self._due[second]:
                del self._due[second]
