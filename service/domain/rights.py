"""Rights: projects, members and tasks as the log tells of them. One pure fold for nodes and the projection.

A project and its members have one partition, whose order decides. Reading a record again changes nothing,
not even in a later epoch: what is older than what is known is passed over.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lastseen.channels import is_id
from lastseen.names import Role
from lastseen.task_state import STATE_AFTER, TaskState, state_after
from pydantic_core import from_json

from service.domain.epochs import Loss
from service.domain.heard import Heard
from service.domain.records import Record
from service.domain.stamps import Lives, Stamp, stamp_of
from service.domain.tasks import Task, with_claim

REMEMBERED_TASKS: Final = 200_000
MAX_NAME_CHARACTERS: Final = 200
_CACHED_CHANNEL_LISTS: Final = 65_536


class Project(NamedTuple):
    """A project that has been begun, whether or not it was deleted since. A deleted one is never begun anew."""

    id: str
    name: str | None
    deleted: bool
    created: bool
    """Whether a `project_created` has said its name and owner; until then only memberships speak of it."""
    since: Stamp
    """The record that began or deleted it."""


class Member(NamedTuple):
    """A user's part in a project that is not deleted. `role` None: removed, which beats what a token claims."""

    project: str
    user: str
    role: Role | None
    since: Stamp


class ChangeKind(StrEnum):
    """What a record has changed, and so what has to be judged anew."""

    PROJECT = "project"
    """A project was begun or deleted: the rights of all its members and to all its tasks."""
    MEMBER = "member"
    """One user's role in one project."""
    TASK = "task"
    """A task is known now, or is of another project or user than it was."""
    STATE = "state"
    """A task's state, or what never decides on rights: nothing has to be judged anew."""


class Change(NamedTuple):
    """What a record has changed. `user` is set for MEMBER and TASK, `task` for TASK and STATE."""

    kind: ChangeKind
    project: str | None
    user: str | None = None
    task: str | None = None


class _Known:
    """The claims to a task, the best first. `whole`: whether they are all that the log says."""

    __slots__ = ("claims", "whole")

    def __init__(self, claims: tuple[Task, ...], whole: bool) -> None:
        self.claims = claims
        self.whole = whole


class Rights:
    """What the records of an epoch, and what was loaded before them, say of rights.

    `epoch` is the topic's first, `losses` are those of its later ones (`Lives`). Projects and members are all kept.
    Of tasks, at most `tasks`: beyond, the one heard of least recently is forgotten. What of it comes later is a part of
    what there is: `task` is None until `learn` was told what the projection holds. So it is with what was not loaded.
    Of a task that was never heard of, what comes is all.
    """

    def __init__(self, epoch: int, tasks: int = REMEMBERED_TASKS, losses: Sequence[Loss] = ()) -> None:
        self._lives = Lives(epoch, losses)
        self._most_tasks = tasks
        self._projects: dict[str, Project] = {}
        self._members: dict[str, dict[str, Member]] = {}
        self._tasks: OrderedDict[str, _Known] = OrderedDict()
        self._forgot: Heard | None = Heard()
        """The tasks that there are and that are not kept; None where they can't be told."""
        self._pinned: set[str] = set()
        self._forgotten: dict[int, int] = {}
        self.strays = 0
        """Records that named another project than their task's, and counted for nothing."""

    def is_unheard_of(self, task_id: str) -> bool:
        """Whether the task surely has no event up to where this has read."""
        return task_id not in self._tasks and self._forgot is not None and task_id not in self._forgot

    def load(
        self,
        projects: Iterable[Project],
        members: Iterable[Member],
        tasks: Iterable[Task],
        *,
        others: Iterable[str] | None,
    ) -> None:
        """Begin with what a projection holds, before any record.

        `others` are the ids of the tasks that it holds beside these, None where they are not told.
        """
        self._projects.update((project.id, project) for project in projects)
        for member in members:
            self._members.setdefault(member.project, {})[member.user] = member
        for task in tasks:
            known = self._tasks.get(task.id)
            self._keep(task.id, with_claim(known.claims if known else (), task), whole=True)
        if others is None:
            self._forgot = None
        elif self._forgot is not None:
            for id_ in others:
                self._forgot.add(id_)

    def apply(self, record: Record) -> Change | None:
        """Learn from a record that is readable and not void, each partition's in order. Never raises."""
        task, project, user = ids_of(record.channels)
        fold = _PROJECT_FOLDS.get(record.type)
        if fold is not None:
            return fold(self, project, user, record) if project is not None else None
        if task is None:
            return None
        known = self._tasks.get(task)
        if known is not None:
            self._tasks.move_to_end(task)
            best = known.claims[0]
            if best.project != project:
                self.strays += 1
            elif record.type not in _TELLING_TYPES and (best.started or self._is_later(record, best.fixed_by)):
                return None
        return self._apply_task(task, project, user, known, record)

    def pin(self, task_id: str) -> None:
        """Never forget this task: somebody watches it, whose right to that may end at any record."""
        self._pinned.add(task_id)

    def unpin(self, task_id: str) -> None:
        """Nobody watches it any more."""
        self._pinned.discard(task_id)

    def role_of(self, project: str, user: str) -> Role | None:
        """The user's role, by the log alone."""
        member = self.member(project, user)
        return None if member is None else member.role

    def was_removed(self, project: str, user: str) -> bool:
        """Whether the log's last word on this user in the project is a removal."""
        member = self.member(project, user)
        return member is not None and member.role is None

    def is_deleted(self, project: str) -> bool:
        """Whether the project was deleted: for good, its id stands for it alone."""
        found = self._projects.get(project)
        return found is not None and found.deleted

    def task(self, task_id: str) -> Task | None:
        """The task, or None where nothing, or not all, is known of it here: then `learn` what the projection holds."""
        known = self._tasks.get(task_id)
        return known.claims[0] if known is not None and known.whole else None

    def learn(self, task_id: str, claims: Sequence[Task], next_: Mapping[int, int]) -> bool:
        """Take what the projection, which has come to the offsets `next_`, holds of a task.

        False, and nothing learned, where it has not come as far as what was forgotten here: ask again later.
        After True a `task` that is None has no event up to where this has read.
        """
        if any(next_.get(partition, 0) <= offset for partition, offset in self._forgotten.items()):
            return False
        known = self._tasks.get(task_id)
        merged = known.claims if known is not None else ()
        for claim in claims:
            merged = with_claim(merged, claim)
        if merged:
            self._keep(task_id, merged, whole=True)
        return True

    def project(self, project: str) -> Project | None:
        """The project, or None where nothing has begun it."""
        return self._projects.get(project)

    def member(self, project: str, user: str) -> Member | None:
        """The log's last word on a user in the project."""
        return self._members.get(project, {}).get(user)

    def members(self, project: str) -> Sequence[Member]:
        """The log's last words on all users of a project, removals included."""
        return tuple(self._members.get(project, {}).values())

    def everything(self) -> tuple[Sequence[Project], Sequence[Member], Sequence[Task]]:
        """All projects, members and tasks, every claim of each: what `load` takes."""
        members = [member for of_project in self._members.values() for member in of_project.values()]
        return (
            tuple(self._projects.values()),
            members,
            [claim for known in self._tasks.values() for claim in known.claims],
        )

    def projects(self) -> Sequence[Project]:
        """All projects, deleted ones included."""
        return tuple(self._projects.values())

    def tasks(self) -> Sequence[Task]:
        """The tasks that are kept and of which all is known, the one heard of last at the end."""
        return tuple(known.claims[0] for known in self._tasks.values() if known.whole)

    def claims(self, task_id: str) -> Sequence[Task]:
        """The claims to a task that are known here, one a project, the one that counts first."""
        known = self._tasks.get(task_id)
        return known.claims if known is not None else ()

    def _is_later(self, record: Record, stamp: Stamp) -> bool:
        """Whether it comes later in the same partition: most records do, and need no stamp of their own then."""
        if record.partition != stamp.partition or record.offset <= stamp.offset:
            return False
        return self._lives.of(record.partition, record.offset) == stamp.epoch

    def _apply_task(
        self, task: str, project: str | None, user: str | None, known: _Known | None, record: Record
    ) -> Change | None:
        stamp = stamp_of(record, self._lives)
        state = _state_after(record)
        said = Task(
            task,
            project,
            user,
            state or TaskState.RUNNING,
            record.type == "task_started",
            stamp,
            None if state is None else stamp,
        )
        before = known.claims if known is not None else ()
        after = with_claim(before, said)
        if after == before:
            return None
        whole = self.is_unheard_of(task) if known is None else known.whole
        self._keep(task, after, whole)
        best = after[0]
        if before and before[0][:3] == best[:3]:
            return Change(ChangeKind.STATE, best.project, None, task)
        if not before and not whole and not said.started:
            # A task from before what is known here: nobody was judged by what this record says of it.
            return Change(ChangeKind.STATE, best.project, None, task)
        return Change(ChangeKind.TASK, best.project, best.user, task)

    def _keep(self, task: str, claims: tuple[Task, ...], whole: bool) -> None:
        known = self._tasks.get(task)
        if known is not None:
            known.claims, known.whole = claims, whole
            self._tasks.move_to_end(task)
            return
        self._tasks[task] = _Known(claims, whole)
        for _ in range(len(self._tasks)):
            if len(self._tasks) - len(self._pinned) <= self._most_tasks:
                return
            oldest, forgotten = self._tasks.popitem(last=False)
            if oldest in self._pinned:
                self._tasks[oldest] = forgotten
                continue
            if self._forgot is not None:
                self._forgot.add(oldest)
            for claim in forgotten.claims:
                for stamp in (claim.fixed_by, claim.changed_by):
                    # Not what stood at an offset that was lost since: the projection may not have come so far again.
                    if stamp is not None and stamp.epoch == self._lives.of(stamp.partition, stamp.offset):
                        last = self._forgotten.get(stamp.partition, -1)
                        self._forgotten[stamp.partition] = max(last, stamp.offset)

    def _created(self, project: str, _user: str | None, record: Record) -> Change | None:
        known, stamp = self._projects.get(project), stamp_of(record, self._lives)
        # The id of a deleted project stays taken: who began it anew would own what the former one has left behind.
        if known is not None and (known.deleted or known.created):
            return None
        fields, data = fields_of(record)
        name = _name(data) or (known.name if known else None)
        self._projects[project] = Project(project, name, deleted=False, created=True, since=stamp)
        owner = _id(data.get("owner_id")) or _id(fields.get("user_id"))
        if owner is not None:
            self._members.setdefault(project, {})[owner] = Member(project, owner, Role.OWNER, stamp)
        return Change(ChangeKind.PROJECT, project)

    def _deleted(self, project: str, _user: str | None, record: Record) -> Change | None:
        known, stamp = self._projects.get(project), stamp_of(record, self._lives)
        if known is not None and (known.deleted or not stamp.is_after(known.since)):
            return None
        name, created = (known.name, known.created) if known else (None, False)
        self._projects[project] = Project(project, name, deleted=True, created=created, since=stamp)
        self._members.pop(project, None)
        return Change(ChangeKind.PROJECT, project)

    def _updated(self, project: str, _user: str | None, record: Record) -> Change | None:
        known = self._projects.get(project)
        # Who may not make a project may not name one that nobody has made.
        if known is None or known.deleted:
            return None
        _, data = fields_of(record)
        name = _name(data)
        if name is None or name == known.name:
            return None
        self._projects[project] = known._replace(name=name)
        return Change(ChangeKind.STATE, project)

    # The member is whose channel the record goes to. A record that grants has to say so twice, one that takes once.
    def _member_added(self, project: str, user: str | None, record: Record) -> Change | None:
        _, data = fields_of(record)
        role = _role(data.get("role"))
        if user is None or role is None or data.get("user_id") != user:
            return None
        return self._set_member(project, user, role, record)

    def _member_removed(self, project: str, user: str | None, record: Record) -> Change | None:
        return None if user is None else self._set_member(project, user, None, record)

    def _set_member(self, project: str, user: str, role: Role | None, record: Record) -> Change | None:
        known, stamp = self._projects.get(project), stamp_of(record, self._lives)
        if known is not None and (known.deleted or known.since.is_after(stamp)):
            return None
        before = self.member(project, user)
        if before is not None and not stamp.is_after(before.since):
            return None
        self._members.setdefault(project, {})[user] = Member(project, user, role, stamp)
        if known is None and role is not None:
            self._projects[project] = Project(project, None, deleted=False, created=False, since=stamp)
            return Change(ChangeKind.PROJECT, project)
        return Change(ChangeKind.MEMBER, project, user)


_PROJECT_FOLDS: Final[dict[str, Callable[[Rights, str, str | None, Record], Change | None]]] = {
    "project_created": Rights._created,
    "project_deleted": Rights._deleted,
    "project_updated": Rights._updated,
    "project_member_added": Rights._member_added,
    "project_member_removed": Rights._member_removed,
}
_TELLING_TYPES: Final = frozenset({*STATE_AFTER, "task_started", "task_status_change"})
"""Types that may say something new of a task that has started."""


PROJECT_TYPES: Final = frozenset(_PROJECT_FOLDS)
"""Types that tell of projects and members."""
PARSED_TYPES: Final = PROJECT_TYPES | {"task_status_change"}
"""Types of which more is needed than header and place."""


def bears_on_rights(record: Record) -> bool:
    """Whether `Rights` may learn anything from records like this one."""
    return record.type in _PROJECT_FOLDS or record.task is not None


def is_telling(record: Record) -> bool:
    """Whether its type may say something new; else it says no more than that there is its task."""
    return record.type in _PROJECT_FOLDS or record.type in _TELLING_TYPES


@lru_cache(_CACHED_CHANNEL_LISTS)
def ids_of(channels: tuple[str, ...]) -> tuple[str | None, str | None, str | None]:
    """The ids of the task, project and user channels among `channels`."""
    ids = dict[str, str](name.partition(":")[::2] for name in channels)
    return ids.get("task"), ids.get("project"), ids.get("user")


def _state_after(record: Record) -> TaskState | None:
    data = fields_of(record)[1] if record.type in PARSED_TYPES else {}
    return state_after(record.type, data)


def fields_of(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a record's value, and its `data`; empty where there are none to be read."""
    try:
        fields = from_json(record.value)
    except ValueError:
        return {}, {}
    data = fields.get("data") if isinstance(fields, dict) else None
    return (fields if isinstance(fields, dict) else {}), (data if isinstance(data, dict) else {})


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and is_id(value) else None


def _role(value: object) -> Role | None:
    """The role that `data.role` names; a member's where it names none."""
    if value is None:
        return Role.MEMBER
    return next((role for role in Role if role == value), None)


def _name(data: Mapping[str, Any]) -> str | None:
    name = data.get("name")
    usable = isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS and "\0" not in name
    return name if usable else None
