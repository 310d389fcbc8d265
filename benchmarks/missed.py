"""What the crowd misses: numbered events of one channel for all, of one of many projects, and of each user alone."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lastseen.channels import BROADCAST
from lastseen.envelope import Event
from lastseen.names import Category
from lastseen.record import NewRecord, encode

from benchmarks.events import VALUE_BYTES
from service.ports import Place

NUMBERED: Final = rb"number-\d{9}"
"""What stands at the end of each event's text."""
_NUMBER: Final = b"number-000000000"
_ID: Final = "storm-000000000"

Missed = Mapping[str, Sequence[bytes]]
"""By channel the ends of its events as a replay for this channel alone has them, in order."""


class Amounts(NamedTuple):
    """Events that each client misses, by channel."""

    shared: int
    project: int
    own: int

    @property
    def each(self) -> int:
        return sum(self)


class _Kind:
    """Records that differ by their numbers alone."""

    def __init__(self, channel: str, event: Event) -> None:
        missing = VALUE_BYTES - len(event.to_json())
        text = "x" * max(missing, 0) + _NUMBER.decode()
        self.channel = channel
        self._record = encode(event.model_copy(update={"data": {"text": text}}))

    def make(self, number: int) -> NewRecord:
        key, value, headers = self._record
        id_, digits = b"storm-%09d" % number, b"number-%09d" % number
        value = value.replace(_ID.encode(), id_, 1).replace(_NUMBER, digits, 1)
        return NewRecord(key, value, tuple((name, id_ if name == "id" else said) for name, said in headers))


def make_missed(
    amounts: Amounts, projects: Sequence[str], users: Sequence[str]
) -> Iterator[tuple[str, int, NewRecord]]:
    """Channel, number and record of each event, those of all channels mixed."""
    system = Event(id=_ID, type="system_maintenance_start", category=Category.SYSTEM, priority=9)
    shared = [_Kind(BROADCAST, system)]
    of_project = [
        _Kind(f"project:{one}", Event(id=_ID, type="project_updated", category=Category.PROJECT, project_id=one))
        for one in projects
    ]
    own = [
        _Kind(f"user:{one}", Event(id=_ID, type="user_notification", category=Category.USER, user_id=one))
        for one in users
    ]
    number = 0
    for at in range(max(amounts)):
        for kinds, amount in ((shared, amounts.shared), (of_project, amounts.project), (own, amounts.own)):
            for kind in kinds if at < amount else ():
                yield kind.channel, number, kind.make(number)
                number += 1


def end_of(channel: str, number: int, place: Place) -> bytes:
    """How the replay of an event for one channel ends."""
    return b'number-%09d"},"replay":["%b"],"partition":%d,"offset":%d}' % (
        number,
        channel.encode(),
        place.partition,
        place.offset,
    )


def write_missed(file: Path, missed: Mapping[str, Sequence[tuple[Place, int]]]) -> None:
    """Write what is expected, for another process of the same benchmark."""
    ends = {
        channel: [end_of(channel, number, place) for place, number in sorted(places, key=lambda one: one[0])]
        for channel, places in missed.items()
    }
    file.write_bytes(pickle.dumps(ends))


def read_missed(file: Path) -> Missed:
    """Read it."""
    missed: Missed = pickle.loads(file.read_bytes())
    return missed
