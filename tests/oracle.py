"""What a log owes whom, worked out from its records alone: the definitions in their plainest form.

Nothing of it is shared with the service but the reading of a record. A cut is per partition the offset up to
which (exclusive) somebody has read.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from pydantic_core import from_json

from service.domain.identity import Identity
from service.domain.records import Record

Cut = Mapping[int, int]


class Owed(NamedTuple):
    """A record that is not void."""

    partition: int
    offset: int
    type: str
    channels: tuple[str, ...]

    def contradicts(self, start: "_Saying") -> bool:
        """Whether it says of its task what the task's start does not: it names another project, or starts it anew."""
        ids = dict(name.partition(":")[::2] for name in self.channels)
        is_other_start = self.type == "task_started" and ids.get("user") not in (None, start.user)
        return ids.get("project") not in (None, start.project) or is_other_start


@dataclass
class _Project:
    """Its members after each record that changed them: `states[i]` holds from `offsets[i]` on."""

    partition: int
    offsets: list[int] = field(default_factory=list)
    states: list[dict[str, str | None] | None] = field(default_factory=list)
    """By user the role, None for one who was removed; None as a whole: deleted."""
    is_created: bool = False

    def at(self, cut: Cut) -> dict[str, str | None] | None:
        """What is known of its members; None where it is deleted."""
        at = bisect_left(self.offsets, cut.get(self.partition, 0))
        return self.states[at - 1] if at else {}


class _Saying(NamedTuple):
    """What a record says of a task: the first start decides, and before any start the first record."""

    not_a_start: bool
    appended_at: int
    partition: int
    offset: int
    project: str | None
    user: str | None


class Oracle:
    """Takes all records of a log, each partition's in their order, and answers for any cut of it."""

    def __init__(self, look_back: int, *, trust_claims: bool) -> None:
        self._look_back = look_back
        self._trust_claims = trust_claims
        self._last_id: dict[tuple[int, str], int] = {}
        self._last_end: dict[tuple[int, str], int] = {}
        self._owed: dict[str, dict[int, list[Owed]]] = defaultdict(lambda: defaultdict(list))
        self._projects: dict[str, _Project] = {}
        self._tasks: dict[str, list[_Saying]] = defaultdict(list)

    def add(self, record: Record) -> None:
        """Take the next record of its partition."""
        if self._is_void(record):
            return
        for channel in record.channels:
            self._owed[channel][record.partition].append(
                Owed(record.partition, record.offset, record.type, record.channels)
            )
        fields: dict[str, Any] = from_json(record.value)
        if record.type.startswith("project_"):
            self._change_project(record, fields)
        elif record.task is not None:
            is_start = record.type == "task_started"
            known = self._tasks[record.task]
            if is_start or all(saying.partition != record.partition for saying in known):
                place = (record.appended_at, record.partition, record.offset)
                known.append(_Saying(not is_start, *place, fields["project_id"], fields["user_id"]))

    def owed(self, channel: str, partition: int, after: int, upto: int) -> list[Owed]:
        """What a subscriber of `channel` is owed of a partition in `(after, upto]`."""
        found = self._owed[channel][partition]
        first = bisect_right(found, after, key=lambda one: one.offset)
        return found[first : bisect_right(found, upto, key=lambda one: one.offset)]

    def may_be_kept_from(self, channel: str, one: Owed) -> bool:
        """Whether a record of a task's channel may not count for it: it contradicts what may be known as the start."""
        return any(one.contradicts(start) for start in self._starts(channel, one))

    def counted(self, channel: str, partition: int, after: int, upto: int, got: Collection[int]) -> list[int]:
        """The offsets that are owed in `(after, upto]`; of those that may be kept from it, the ones got."""
        owed = self.owed(channel, partition, after, upto)
        return [one.offset for one in owed if one.offset in got or not self.may_be_kept_from(channel, one)]

    def is_kept_from(self, channel: str, one: Owed) -> bool:
        """Whether it does not: whoever has read it knows the start that it contradicts."""
        starts = self._starts(channel, one)
        return any(_is_known(start, one) for start in starts) and all(one.contradicts(start) for start in starts)

    def _starts(self, channel: str, one: Owed) -> list["_Saying"]:
        """The starts that may be the first of its task, for somebody who has read a record of it."""
        kind, _, id_ = channel.partition(":")
        said = self._tasks.get(id_, ()) if kind == "task" else ()
        starts = sorted((saying for saying in said if not saying.not_a_start), key=lambda saying: saying[:4])
        for at, start in enumerate(starts):
            if _is_known(start, one):
                return starts[: at + 1]
        return starts

    def may_read(self, identity: Identity, channel: str, cut: Cut, heard: Cut | None = None) -> bool:
        """Whether somebody may read a channel, for one who has read the log up to `cut`.

        Of tasks he may have heard more, up to `heard`.
        """
        kind, _, id_ = channel.partition(":")
        match kind:
            case "broadcast":
                return True
            case "user":
                return id_ == identity.user_id
            case "project":
                return identity.is_admin or self._is_member(identity, id_, cut)
            case "task":
                return identity.is_admin or self._may_read_task(identity, id_, cut, heard or cut)
        return kind == "system" and identity.is_admin

    def may_hold(self, identity: Identity, channel: str, low: Cut, high: Cut, heard: Cut) -> bool:
        """Whether the right may be held by one who has read up to somewhere from `low` to `high`."""
        return any(self.may_read(identity, channel, *cuts) for cuts in self._cuts(channel, low, high, heard))

    def may_lack(self, identity: Identity, channel: str, low: Cut, high: Cut, heard: Cut) -> bool:
        """Whether it may not be held by one who has."""
        return not all(self.may_read(identity, channel, *cuts) for cuts in self._cuts(channel, low, high, heard))

    def _is_void(self, record: Record) -> bool:
        """Whether one with its id, or the end of its task, lies among the records before it that are looked back to."""
        partition, offset = record.partition, record.offset
        last = [self._last_id.get((partition, record.id))]
        if record.task is not None:
            last.append(self._last_end.get((partition, record.task)))
        self._last_id[partition, record.id] = offset
        if record.ended_task is not None:
            self._last_end[partition, record.ended_task] = offset
        return any(before is not None and before >= offset - self._look_back for before in last)

    def _change_project(self, record: Record, fields: dict[str, Any]) -> None:
        id_, data = fields["project_id"], fields["data"]
        project = self._projects.setdefault(id_, _Project(record.partition))
        assert project.partition == record.partition, "a project has one partition"
        before = project.states[-1] if project.states else {}
        match record.type:
            case "project_created" if not project.is_created and before is not None:
                after: dict[str, str | None] | None = {**before, (data.get("owner_id") or fields["user_id"]): "owner"}
                project.is_created = True
            case "project_deleted":
                after = None
            case "project_member_added" if before is not None:
                after = {**before, data["user_id"]: data.get("role") or "member"}
            case "project_member_removed" if before is not None:
                after = {**before, data["user_id"]: None}
            case _:
                return
        project.offsets.append(record.offset)
        project.states.append(after)

    def _is_member(self, identity: Identity, project: str, cut: Cut) -> bool:
        known = self._projects.get(project)
        members = {} if known is None else known.at(cut)
        if members is None:
            return False
        if identity.user_id in members:
            return members[identity.user_id] is not None
        return self._trust_claims and project in identity.projects

    def _may_read_task(self, identity: Identity, task: str, cut: Cut, heard: Cut) -> bool:
        said = [saying for saying in self._tasks.get(task, ()) if saying.offset < heard.get(saying.partition, 0)]
        if not said:
            return False
        first = min(said, key=lambda saying: saying[:4])
        if first.project is None:
            return first.user == identity.user_id
        project = self._projects.get(first.project)
        if project is not None and project.at(cut) is None:
            return False
        return first.user == identity.user_id or self._is_member(identity, first.project, cut)

    def _cuts(self, channel: str, low: Cut, high: Cut, heard: Cut) -> Iterator[tuple[Cut, Cut]]:
        """Cuts from `low` to `high`, with what may have been heard of tasks then: all that differ in what matters."""
        kind, _, id_ = channel.partition(":")
        sayings = self._tasks.get(id_, []) if kind == "task" else []
        names = {id_} if kind == "project" else {saying.project for saying in sayings}
        projects = [self._projects[name] for name in names if name in self._projects]
        changes = [(project.partition, offset) for project in projects for offset in project.offsets]
        said = [(saying.partition, saying.offset) for saying in sayings]
        for cut in _between(low, high, changes):
            for facts in _between(cut, heard, said):
                yield cut, facts


def _is_known(start: _Saying, one: Owed) -> bool:
    return start.partition == one.partition and start.offset <= one.offset


def _between(low: Cut, high: Cut, changes: list[tuple[int, int]]) -> Iterator[Cut]:
    """All cuts from `low` to `high` that differ in which of the changes they have."""
    points = {partition: {min(low.get(partition, 0), at)} for partition, at in high.items()}
    for partition, offset in changes:
        if low.get(partition, 0) <= offset < high.get(partition, 0):
            points[partition].add(offset + 1)
    for values in product(*map(sorted, points.values())):
        yield dict(zip(points, values, strict=True))
