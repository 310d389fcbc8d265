"""Who is connected, over all nodes: a fold over the presence topic, the same on each of them.

A user's *session* begins with the first holding (a node has a connection of his) and ends when nobody has held him
for the grace period. Both ends are told by an event whose id comes from the session, so it does not matter if two
nodes take it to be theirs to tell; that it has been told is written down under the user's key, so it is not
forgotten whoever dies. Times are milliseconds of the log's clock.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile
from typing import Final, NamedTuple

from service.domain.log_clock import LogClock
from service.domain.presence_records import (
    Gone,
    Holding,
    Lease,
    Session,
    Stage,
    Word,
    asking_keys,
    holding_key,
    key_of,
    lease_key,
    session_key,
)

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Decide:
    """A duty: write down that the session is opening, or closing. Of several such words the first one counts."""

    session: Session


@dataclass(frozen=True, slots=True)
class Announce:
    """A duty: append `user_online` for a session that is opening, or `user_offline`, and write that down."""

    session: Session


@dataclass(frozen=True, slots=True)
class Forget:
    """A duty: write tombstones for all that a lost node has left, or, without a name, for late words."""

    incarnation: str
    keys: list[str]


Duty = Decide | Announce | Forget


@dataclass(slots=True)
class _Node:
    name: str
    until: int
    """When its lease runs out."""
    connections: int
    users: dict[str, int]


class _Since(NamedTuple):
    session: Session
    since: int
    decided: bool
    """Whether that has been written down."""


class _Late(NamedTuple):
    incarnation: str
    since: int


class _Ending(NamedTuple):
    since: int
    last: str
    """The incarnation that held the user last; empty where that is not known."""


class NodeCounts(NamedTuple):
    """What a node was last known to hold."""

    name: str
    connections: int
    users: int
    lease_ms: int
    """For how long it still counts as there unless it is heard of again."""


class Presence:
    """The state after the records applied so far."""

    def __init__(self, lease_ms: int) -> None:
        # A little more than between two renewals: while nodes can renew it counts whatever time passes.
        self._clock = LogClock(cap_ms=lease_ms * 2 // 5)
        self._lease_ms = lease_ms
        self._nodes: dict[str, _Node] = {}
        self._holdings: dict[str, dict[str, Holding]] = {}
        """Per user and incarnation, in the order in which they began."""
        self._told: dict[str, Session] = {}
        self._begun: dict[str, _Since] = {}
        """Sessions whose beginning has not been told yet."""
        self._closing: dict[str, _Since] = {}
        """Sessions that have ended, which has not been told yet."""
        self._ending: dict[str, _Ending] = {}
        """Users with a session whom nobody holds, the longest gone first."""
        self._closed: OrderedDict[str, None] = OrderedDict()
        """Sessions whose end has been told; a late word of them says nothing."""
        self._late: dict[str, _Late] = {}
        """Words of closed sessions and lost nodes, by key: they say nothing, and a tombstone is due again."""
        self._lost: OrderedDict[str, None] = OrderedDict()
        """Incarnations that have left or were given up; one that goes on joins as another."""

    def apply(self, word: Word | Gone | None, appended_at: int) -> None:
        """Take the next record of the topic; one that says nothing still moves the clock."""
        now = self._clock.read(appended_at)
        match word:
            case Lease() | Holding() if word.incarnation in self._lost:
                self._late[key_of(word)] = _Late(word.incarnation, now)
            case Session() if word.id in self._closed:
                self._late[key_of(word)] = _Late(word.incarnation, now)
            case Lease():
                node = self._node(word.incarnation, now)
                node.name, node.until = word.node, now + word.milliseconds
            case Holding():
                self._hold(word, now)
            case Session():
                self._stage(word, now)
            case Gone("lease"):
                self._lose(word.name, now)
                self._late.pop(lease_key(word.name), None)
            case Gone("user"):
                self._release(word.name, word.user, now)
                self._late.pop(holding_key(word.name, word.user), None)
            case Gone("session"):
                self._late.pop(session_key(word.name, word.user), None)
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
            incarnation: NodeCounts(node.name, node.connections, len(node.users), node.until - now)
            for incarnation, node in self._nodes.items()
            if node.until > now
        }

    def online_users(self, among: Collection[str], besides: Collection[str] = ()) -> set[str]:
        """The users that those nodes hold, and these."""
        held = (user for user, holdings in self._holdings.items() if not holdings.keys().isdisjoint(among))
        return {*held, *besides}

    def connections_of(self, user: str) -> Mapping[str, int]:
        """How many connections of a user each node has, by incarnation."""
        return {incarnation: holding.connections for incarnation, holding in self._holdings.get(user, {}).items()}

    def duties(self, me: str, elapsed_ms: int, grace_ms: int, limit: int) -> list[Duty]:
        """What falls to the node `me` now: up to `limit` events, or all of one lost node.

        It falls to the node that began a session to tell it, to the one that held the user last to tell the end.
        To the live node that began first falls what a lost node leaves, and what is not done for a lease's time:
        nodes that read the topic before and after a compaction may not agree on who began.

        `elapsed_ms`: since the last record was read. After too long there are none: this node may have been frozen,
        and what it knows is of long ago.
        """
        if elapsed_ms > self._clock.cap_ms:
            return []
        now = self._clock.now(elapsed_ms)
        live = {incarnation for incarnation, node in self._nodes.items() if node.until > now}
        if me not in live:
            return []  # this node itself may have been given up for lost
        eldest = min(live)
        if me == eldest:
            for incarnation in self._nodes.keys() - live:
                return [Forget(incarnation, self._keys_of(incarnation))]

        def falls_to(first: str, since: int) -> str:
            return first if first in live and now - since < self._lease_ms else eldest

        begun: Iterator[Duty] = (
            Announce(one.session) if one.decided else Decide(replace(one.session, incarnation=me))
            for user, one in self._begun.items()
            if user not in self._closing and falls_to(one.session.incarnation, one.since) == me
        )
        closing = (
            Announce(one.session)
            for one in self._closing.values()
            if falls_to(one.session.incarnation, one.since) == me
        )
        gone = takewhile(lambda one: one[1].since + grace_ms <= now, self._ending.items())
        ended = (
            Decide(replace(self._told[user], incarnation=me, stage=Stage.CLOSING))
            for user, ending in gone
            if user in self._told and falls_to(ending.last, ending.since + grace_ms) == me
        )
        late = (Forget("", [key]) for key, one in self._late.items() if falls_to(one.incarnation, one.since) == me)
        return list(islice(chain(begun, closing, ended, late), limit))

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
            self._begin(holding, now)

    def _begin(self, holding: Holding, now: int) -> None:
        incarnation = holding.incarnation
        id_ = f"{incarnation}-{holding.number}"
        name = self._nodes[incarnation].name
        session = Session(holding.user, id_, incarnation, name, holding.project, Stage.OPENING)
        self._begun[holding.user] = _Since(session, now, decided=False)

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
        _remember(self._lost, incarnation)
        node = self._nodes.get(incarnation)
        if node is not None:
            for user in list(node.users):
                self._release(incarnation, user, now)
            del self._nodes[incarnation]

    def _stage(self, session: Session, now: int) -> None:
        user = session.user
        begun = self._begun.get(user)
        match session.stage:
            case Stage.OPENING:
                if user not in self._told and (begun is None or not begun.decided):
                    self._begun[user] = _Since(session, now, decided=True)
            case Stage.OPEN:
                if user not in self._told and (begun is None or not begun.decided or begun.session.id == session.id):
                    self._told[user] = session
                    self._begun.pop(user, None)
            case Stage.CLOSING:
                if user not in self._closing:
                    self._leave_behind(session)
                    self._closing[user] = _Since(session, now, decided=True)
            case Stage.CLOSED:
                self._leave_behind(session)
                self._closing.pop(user, None)
                _remember(self._closed, session.id)
        if session.stage is not Stage.CLOSED and session.id not in self._sessions_of(user):
            # Another came first.
            self._late[key_of(session)] = _Late(session.incarnation, now)
        if user in self._holdings:
            self._begin_anew(user, now)
        elif user in self._told or user in self._begun:
            self._ending.setdefault(user, _Ending(now, ""))

    def _sessions_of(self, user: str) -> set[str]:
        since = [found.session.id for stage in (self._begun, self._closing) if (found := stage.get(user)) is not None]
        told = self._told.get(user)
        return {*since, told.id} if told is not None else set(since)

    def _leave_behind(self, session: Session) -> None:
        """The session goes on for nobody."""
        user = session.user
        told, begun = self._told.get(user), self._begun.get(user)
        if told is not None and told.id == session.id:
            del self._told[user]
        if begun is not None and begun.session.id == session.id:
            del self._begun[user]
        if user not in self._told and user not in self._begun:
            self._ending.pop(user, None)

    def _begin_anew(self, user: str, now: int) -> None:
        """Whoever has come back while his session was closed begins another."""
        if user not in self._told and user not in self._begun:
            self._begin(next(iter(self._holdings[user].values())), now)


def _remember(memory: OrderedDict[str, None], name: str) -> None:
    memory[name] = None
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
