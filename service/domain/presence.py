"""Who is connected, over all nodes: a fold over the presence topic, the same on each of them.

A user's *session* begins with the first holding (a node has a connection of his) and ends when nobody has held him
for the grace period. Both ends are told by an event whose id comes from the session, so it does not matter if two
nodes take it to be theirs to tell; that it has been told is written down under the user's key, so it is not
forgotten whoever dies. Times are milliseconds of the log's clock.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from service.domain.log_clock import LogClock
from service.domain.presence_records import (
    Gone,
    Holding,
    Lease,
    Session,
    Word,
    asking_keys,
    holding_key,
    lease_key,
)

_REMEMBERED_ENDS: Final = 10_000


class Announce(NamedTuple):
    """A duty: append `user_online`, or `user_offline`, and write down that it has been told."""

    session: Session
    online: bool


class Forget(NamedTuple):
    """A duty: write tombstones for all that a lost node has left."""

    incarnation: str
    keys: list[str]


Duty = Announce | Forget


@dataclass(slots=True)
class _Node:
    name: str
    until: int
    """When its lease runs out."""
    connections: int
    users: dict[str, int]


class _Ending(NamedTuple):
    since: int
    last: str
    """The incarnation that held the user last; empty where that is not known."""


class NodeCounts(NamedTuple):
    """What a node was last known to hold."""

    name: str
    connections: int
    users: int


class Presence:
    """The state after the records applied so far."""

    def __init__(self, lease_ms: int) -> None:
        # Longer than between two renewals, so that it counts whatever time passes while nodes can renew.
        self._clock = LogClock(cap_ms=lease_ms // 2)
        self._lease_ms = lease_ms
        self._nodes: dict[str, _Node] = {}
        self._holdings: dict[str, dict[str, Holding]] = {}
        """Per user and incarnation, in the order in which they began."""
        self._told: dict[str, Session] = {}
        self._begun: dict[str, Session] = {}
        """Sessions whose beginning has not been told yet."""
        self._ending: dict[str, _Ending] = {}
        """Users with a session whom nobody holds."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Sessions whose end has been told; a late word of them says nothing."""

    def apply(self, word: Word | Gone | None, appended_at: int) -> None:
        """Take the next record of the topic; one that says nothing still moves the clock."""
        now = self._clock.read(appended_at)
        match word:
            case Lease():
                node = self._node(word.incarnation, now)
                node.name, node.until = word.node, now + word.milliseconds
            case Holding():
                self._hold(word, now)
            case Session():
                self._tell(word, now)
            case Gone("lease"):
                self._lose(word.incarnation, now)
            case Gone("user"):
                self._release(word.incarnation, word.user, now)
            case Gone("session"):
                self._end(word.user)
            case _:
                pass

    def now(self, elapsed_ms: int) -> int:
        """The time, so long after the last record was read."""
        return self._clock.now(elapsed_ms)

    def restart_grace(self) -> None:
        """Give everybody the whole grace period from now on: nobody could come back before."""
        now = self._clock.now(0)
        self._ending = {user: _Ending(now, ending.last) for user, ending in self._ending.items()}

    def knows(self, incarnation: str) -> bool:
        """Whether a node is there, its lease run out or not."""
        return incarnation in self._nodes

    def live(self, now: int) -> dict[str, NodeCounts]:
        """The nodes whose lease runs, by incarnation."""
        return {
            incarnation: NodeCounts(node.name, node.connections, len(node.users))
            for incarnation, node in self._nodes.items()
            if node.until > now
        }

    def online_users(self, among: Collection[str]) -> int:
        """How many users those nodes hold."""
        return sum(1 for holdings in self._holdings.values() if not holdings.keys().isdisjoint(among))

    def connections_of(self, user: str) -> Mapping[str, int]:
        """How many connections of a user each node has, by incarnation."""
        return {incarnation: holding.connections for incarnation, holding in self._holdings.get(user, {}).items()}

    def duties(self, me: str, now: int, grace_ms: int, limit: int) -> list[Duty]:
        """What falls to the node `me` now: up to `limit` events, or all of one lost node.

        It falls to the node that began a session to tell it, to the one that held the user last to tell the end;
        where that node is lost, and to forget it, to the live node that began first.
        """
        live = {incarnation for incarnation, node in self._nodes.items() if node.until > now}
        if me not in live:
            return []  # this node itself may have been given up for lost
        eldest = min(live)
        if me == eldest:
            for incarnation in self._nodes.keys() - live:
                return [Forget(incarnation, self._keys_of(incarnation))]
        return list(islice(self._announcements(me, live, eldest, now - grace_ms), limit))

    def _announcements(self, me: str, live: Collection[str], eldest: str, gone_by: int) -> Iterator[Announce]:
        for session in self._begun.values():
            if (session.incarnation if session.incarnation in live else eldest) == me:
                yield Announce(session, online=True)
        for user, ending in self._ending.items():
            told = self._told.get(user)
            if told is not None and ending.since <= gone_by and (ending.last if ending.last in live else eldest) == me:
                yield Announce(told, online=False)

    def _keys_of(self, incarnation: str) -> list[str]:
        # The lease last: whoever is cut off before leaves a lost node that another forgets.
        users = [holding_key(incarnation, user) for user in self._nodes[incarnation].users]
        return [*users, *asking_keys(incarnation), lease_key(incarnation)]

    def _node(self, incarnation: str, now: int) -> _Node:
        """The node; one that is heard of before its lease is given one to show it."""
        node = self._nodes.get(incarnation)
        if node is None:
            node = self._nodes[incarnation] = _Node("", now + self._lease_ms, 0, {})
        return node

    def _hold(self, holding: Holding, now: int) -> None:
        user, incarnation = holding.user, holding.incarnation
        node = self._node(incarnation, now)
        node.connections += holding.connections - node.users.get(user, 0)
        node.users[user] = holding.connections
        self._holdings.setdefault(user, {})[incarnation] = holding
        self._ending.pop(user, None)
        if user not in self._told and user not in self._begun:
            self._begin(holding)

    def _begin(self, holding: Holding) -> None:
        incarnation = holding.incarnation
        id_ = f"{incarnation}-{holding.number}"
        name = self._nodes[incarnation].name
        self._begun[holding.user] = Session(holding.user, id_, incarnation, name, holding.project)

    def _release(self, incarnation: str, user: str, now: int) -> None:
        node = self._nodes.get(incarnation)
        if node is None or user not in node.users:
            return
        node.connections -= node.users.pop(user)
        holdings = self._holdings[user]
        del holdings[incarnation]
        if not holdings:
            del self._holdings[user]
            self._ending[user] = _Ending(now, incarnation)

    def _lose(self, incarnation: str, now: int) -> None:
        node = self._nodes.get(incarnation)
        if node is not None:
            for user in list(node.users):
                self._release(incarnation, user, now)
            del self._nodes[incarnation]

    def _tell(self, session: Session, now: int) -> None:
        if session.id in self._ended:
            return
        user = session.user
        self._told[user] = session
        self._begun.pop(user, None)
        if user not in self._holdings:
            self._ending.setdefault(user, _Ending(now, ""))

    def _end(self, user: str) -> None:
        told = self._told.pop(user, None)
        self._ending.pop(user, None)
        if told is not None:
            self._ended[told.id] = None
            if len(self._ended) > _REMEMBERED_ENDS:
                self._ended.popitem(last=False)
        holdings = self._holdings.get(user)
        if holdings and user not in self._begun:
            # He came back while the end was being told: that is a session of its own.
            self._begin(next(iter(holdings.values())))
