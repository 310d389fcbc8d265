"""`user_online` and `user_offline` are told once each and in turn, whoever comes, goes or is killed in between."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.presence import Announce, Decide, Duty, Forget, Presence
from service.domain.presence_events import presence_event, told_entries
from service.domain.presence_records import (
    Gone,
    Holding,
    Lease,
    asking_keys,
    entry_of,
    holding_key,
    lease_key,
    read_entry,
)

LEASE_MS = 1500
GRACE_MS = 1000
USERS = ["ann", "bob"]

Entry = tuple[str, bytes | None]


@dataclass
class World:
    """The topic, the events told, and a clock that only the schedule moves."""

    now: int = 1_000_000
    topic: list[tuple[str, bytes | None, int]] = field(default_factory=list)
    told: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Type and user by the event's id: one that is told twice is void."""

    def append(self, entries: list[Entry]) -> None:
        self.topic += [(key, value, self.now) for key, value in entries]

    def tell(self, announce: Announce) -> None:
        event = presence_event(announce)
        self.told.setdefault(event.id, (event.type, str(event.user_id)))

    def of_user(self, user: str) -> list[str]:
        return [type_ for type_, who in self.told.values() if who == user]


class Node:
    """One life of a node: its fold, and what it holds."""

    def __init__(self, world: World, incarnation: str, *, compacted: bool = False) -> None:
        self.world = world
        self.incarnation = incarnation
        self.fold = Presence(LEASE_MS)
        self.users: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}
        self.number = 0
        self.at = 0
        self.renew()
        loaded = world.topic
        if compacted:
            newest = {key: place for place, (key, _, _) in enumerate(loaded)}
            loaded = [
                record for place, record in enumerate(loaded) if newest[record[0]] == place and record[1] is not None
            ]
        for key, value, appended_at in loaded:
            self.fold.apply(read_entry(key, value), appended_at)
        self.at = len(world.topic)
        self.fold.restart_grace()

    def renew(self) -> None:
        self.world.append([entry_of(Lease(self.incarnation, self.incarnation, LEASE_MS))])

    def read(self, count: int | None = None) -> None:
        upto = len(self.world.topic) if count is None else min(len(self.world.topic), self.at + count)
        is_lost = False
        for key, value, appended_at in self.world.topic[self.at : upto]:
            word = read_entry(key, value)
            self.fold.apply(word, appended_at)
            match word:
                case Gone("lease", incarnation) if incarnation == self.incarnation:
                    is_lost = True
                case Gone("user", incarnation, user) if incarnation == self.incarnation and self.users[user]:
                    self.come_anew(user)
        self.at = upto
        if is_lost:
            left = [holding_key(self.incarnation, user) for user in USERS]
            self.world.append([(key, None) for key in [*left, lease_key(self.incarnation)]])
            self.incarnation += "+"
            self.renew()
            for user in USERS:
                if self.users[user]:
                    self.say(user)

    def connect(self, user: str) -> None:
        self.users[user] += 1
        if self.users[user] == 1:
            self.come_anew(user)
        else:
            self.say(user)

    def come_anew(self, user: str) -> None:
        self.number += 1
        self.numbers[user] = self.number
        self.say(user)

    def disconnect(self, user: str) -> None:
        if self.users[user]:
            self.users[user] -= 1
            self.say(user)

    def say(self, user: str) -> None:
        if self.users[user]:
            holding = Holding(self.incarnation, user, self.users[user], self.numbers[user], "p")
            self.world.append([entry_of(holding)])
        else:
            self.world.append([(holding_key(self.incarnation, user), None)])

    def leave(self) -> None:
        keys = [holding_key(self.incarnation, user) for user in USERS if self.users[user]]
        self.users.clear()
        self.world.append([(key, None) for key in [*keys, *asking_keys(self.incarnation), lease_key(self.incarnation)]])

    def duties(self) -> list[Duty]:
        elapsed_ms = self.world.now - self.world.topic[self.at - 1][2]
        return self.fold.duties(self.incarnation, elapsed_ms, GRACE_MS, 10)

    def do(self, *, cut_off: bool = False) -> bool:
        """Do what is to be done; cut off, only the first half of each. Whether there was something."""
        duties = self.duties()
        for duty in duties:
            match duty:
                case Decide(session):
                    self.world.append([entry_of(session)])
                case Announce():
                    self.world.tell(duty)
                    if not cut_off:
                        self.world.append(told_entries(duty))
                case Forget(_, keys):
                    self.world.append([(key, None) for key in (keys[:1] if cut_off else keys)])
        return bool(duties)


def pass_time(world: World, nodes: list[Node], ms: int) -> None:
    """Let time pass for nodes that live: they renew, read and do their duties."""
    for _ in range(0, ms, 100):
        world.now += 100
        for node in nodes:
            if world.now // 100 % 5 == 0:
                node.renew()
            node.read()
            node.do()
            node.read()


def play(random: Random, steps: int, *, frozen: bool) -> None:
    """A schedule at random: nodes come, leave and die, also in the middle of their work.

    With `frozen` they also act on what they knew a while ago; then the first one lives on, for what is said too late
    is told from what is new by the memory of those who were there.
    """
    world = World()
    nodes: list[Node] = []
    made = 0

    def start() -> None:
        nonlocal made
        made += 1
        nodes.append(Node(world, f"n{made:04}", compacted=random.random() < 0.5))

    start()
    start()
    for _ in range(steps):
        node = random.choice(nodes)
        user = random.choice(USERS)
        mortal = random.choice(nodes[1:]) if frozen and len(nodes) > 1 else node
        match random.randrange(14 if frozen else 12):
            case 0 | 1 | 2:
                node.connect(user)
            case 3 | 4 | 5:
                node.disconnect(user)
            case 6:
                node.read(random.randint(1, 3))
            case 7:
                node.read()
                node.do()
            case 8:
                # It dies in the middle of its work.
                mortal.read()
                mortal.do(cut_off=True)
                nodes.remove(mortal)
                start()
            case 9:
                mortal.leave()
                nodes.remove(mortal)
                start()
            case 10:
                pass_time(world, nodes, random.choice([100, 500, 2500]))
            case 11:
                world.now += random.choice([10, 60_000])  # the broker is away
                for other in nodes:
                    other.renew()
            case 12:
                node.do()  # by what it knew a while ago
            case 13:
                # It is frozen, and goes on where it was.
                pass_time(world, [other for other in nodes if other is not node], random.choice([500, 5000]))
                node.do()
                node.renew()
    pass_time(world, nodes, 3 * LEASE_MS + 2 * GRACE_MS)
    assert not any(node.duties() for node in nodes)
    live = {node.incarnation for node in nodes}
    for user in USERS:
        told = world.of_user(user)
        expected = ["user_online", "user_offline"] * len(told)
        is_held = any(node.users[user] for node in nodes)
        assert (told[-1:] == ["user_online"]) == is_held, told
        assert told == expected[: len(told)], "each once, in turn"
        held = {node.incarnation: node.users[user] for node in nodes if node.users[user]}
        for node in nodes:
            assert node.fold.connections_of(user) == held
            assert node.fold.live(node.fold.now(0)).keys() == live


@pytest.mark.parametrize("frozen", [False, True])
@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(5, 80))
def test_each_change_is_told_once(frozen: bool, random: Random, steps: int) -> None:
    play(random, steps, frozen=frozen)


@pytest.fixture
def two() -> tuple[World, Node, Node]:
    world = World()
    return world, Node(world, "n1"), Node(world, "n2")


def test_two_connections_on_two_nodes_are_one_session(two: tuple[World, Node, Node]) -> None:
    world, one, other = two
    one.connect("ann")
    other.connect("ann")
    pass_time(world, [one, other], 3000)
    one.disconnect("ann")
    pass_time(world, [one, other], 3000)
    assert world.of_user("ann") == ["user_online"]
    other.disconnect("ann")
    pass_time(world, [one, other], GRACE_MS - 200)
    assert world.of_user("ann") == ["user_online"]
    pass_time(world, [one, other], 500)
    assert world.of_user("ann") == ["user_online", "user_offline"]


def test_a_return_within_the_grace_is_no_flap(two: tuple[World, Node, Node]) -> None:
    world, one, other = two
    for _ in range(3):
        one.connect("ann")
        pass_time(world, [one, other], 2000)
        one.disconnect("ann")
        pass_time(world, [one, other], GRACE_MS // 2)
        other.connect("ann")
        pass_time(world, [one, other], 2000)
        other.disconnect("ann")
        pass_time(world, [one, other], GRACE_MS // 2)
    assert world.of_user("ann") == ["user_online"]


def test_a_killed_node_is_forgotten_after_its_lease_and_its_users_go_offline(two: tuple[World, Node, Node]) -> None:
    world, one, other = two
    other.connect("ann")
    pass_time(world, [one, other], 2000)
    assert one.fold.connections_of("ann") == {"n2": 1}
    pass_time(world, [one], LEASE_MS + 200)
    assert one.fold.connections_of("ann") == {}
    assert not one.fold.knows("n2")
    assert world.of_user("ann") == ["user_online"]
    pass_time(world, [one], GRACE_MS + 200)
    assert world.of_user("ann") == ["user_online", "user_offline"]


def test_an_outage_of_the_broker_costs_nobody_his_lease(two: tuple[World, Node, Node]) -> None:
    world, one, other = two
    one.connect("ann")
    other.connect("bob")
    pass_time(world, [one, other], 2000)
    world.now += 3_600_000
    one.renew()
    one.read()
    assert not one.duties()
    assert one.fold.live(one.fold.now(0)).keys() == {"n1", "n2"}
    other.renew()
    pass_time(world, [one, other], 3000)
    assert world.of_user("ann") == world.of_user("bob") == ["user_online"]


def test_whoever_returns_to_nodes_that_all_started_anew_was_never_away(two: tuple[World, Node, Node]) -> None:
    world, one, other = two
    one.connect("ann")
    other.connect("bob")
    pass_time(world, [one, other], 2000)
    one.leave()  # and the other is killed
    world.now += 60_000
    new = Node(world, "n3", compacted=True)
    pass_time(world, [new], GRACE_MS // 2)
    new.connect("ann")
    pass_time(world, [new], 3 * LEASE_MS + 2 * GRACE_MS)
    assert world.of_user("ann") == ["user_online"]
    assert world.of_user("bob") == ["user_online", "user_offline"]
