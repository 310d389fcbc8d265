"""How many connections there are of what is asked about: what the nodes answer, put together."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.presence_records import MAX_LISTED, Counts

MAX_DIGESTS: Final = 20_000
"""Channels of one node that are told apart from those of other nodes: more would make a slow and large answer."""
_DIGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class NodeTotal:
    """What one node has. Of one that did not answer it is what it last wrote, and its channels are not known."""

    node: str
    connections: int
    users: int
    channels: int | None
    answering: bool
    incarnation: str
    """One of several processes of that name; they order by the time at which they joined."""
    lease_ms: int | None = None
    """Of one that did not answer: for how long it still counts."""


@dataclass(frozen=True, slots=True)
class Total:
    """What all nodes have together; a user or channel on several nodes counts once.

    Only where a node could not list its users or channels (too many) the nodes' numbers are added up instead.
    """

    connections: int
    users: int
    channels: int
    listed_users: Sequence[str]
    """The users, sorted: the first MAX_LISTED of those that were listed."""
    nodes: Sequence[NodeTotal]

    @property
    def silent(self) -> Sequence[str]:
        """The nodes that did not answer."""
        return [node.node for node in self.nodes if not node.answering]


def count(connections: int, users: Collection[str] | int, channels: Collection[str]) -> Counts:
    """A node's own counts; a number of users instead of their names means that they are not listed."""
    named = None if isinstance(users, int) or len(users) > MAX_LISTED else sorted(users)
    number = users if isinstance(users, int) else len(users)
    return Counts(connections, number, len(channels), named, _digests(channels))


def total(answers: Sequence[tuple[str, str, Counts]], silent: Sequence[NodeTotal], users: int | None = None) -> Total:
    """Names, incarnations and answers of nodes, and what is known of the silent ones; `users` if known otherwise."""
    nodes = [
        NodeTotal(name, counts.connections, counts.users, counts.channels, True, incarnation)
        for name, incarnation, counts in answers
    ]
    nodes = sorted([*nodes, *silent], key=lambda node: (node.node, node.incarnation))
    listed = {user for *_, counts in answers for user in counts.listed_users or ()}
    all_are_listed = not silent and all(counts.listed_users is not None for *_, counts in answers)
    if users is None:
        users = len(listed) if all_are_listed else sum(node.users for node in nodes)
    return Total(
        connections=sum(node.connections for node in nodes),
        users=users,
        channels=_channels([counts for *_, counts in answers]),
        listed_users=sorted(listed)[:MAX_LISTED],
        nodes=nodes,
    )


def _digests(channels: Collection[str]) -> str | None:
    if len(channels) > MAX_DIGESTS:
        return None
    digests = (hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest() for name in channels)
    return b64encode(b"".join(digests)).decode()


def _channels(answers: Sequence[Counts]) -> int:
    found: set[bytes] = set()
    for counts in answers:
        if counts.channel_digests is None:
            return sum(one.channels for one in answers)
        digests = b64decode(counts.channel_digests)
        found.update(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
    return len(found)
