"""Appending what producers send: every event judged by itself, the good ones in one batch."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from lastseen.envelope import Event, NulCharacter
from lastseen.names import PRESENCE_TYPES, RIGHTS_TYPES, Category
from lastseen.record import EventTooLarge, NewRecord, encode

from service.domain.errors import BadRequest, HistoryUnavailable
from service.domain.identity import Identity
from service.domain.tasks import Task
from service.node.rights import KnownRights
from service.node.unread import Key, ReadBack, Unread
from service.ports import EventLog, Place

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Published:
    """An event that the log has. For a known duplicate the place is that of the first."""

    id: str
    place: Place
    duplicate: bool


class Publisher:
    """Appends events for callers, and answers with their places."""

    def __init__(self, log: EventLog, rights: KnownRights, read_back: ReadBack, max_event_bytes: int) -> None:
        self._log = log
        self._rights = rights
        self._read_back = read_back
        self._max_event_bytes = max_event_bytes
        self._unread = Unread(read_back)
        self.appended = 0
        """Events that the log has taken from here."""
        # What this node appends, or has appended and perhaps not yet read back, the start of.
        self._started: OrderedDict[str, _Start] = OrderedDict()

    async def publish(
        self, identity: Identity, events: Sequence[Event], exclude: str | None = None
    ) -> list[Published | BadRequest]:
        """One answer for each event, in order; live delivery leaves the connection `exclude` out.

        Raises LogUnavailable, and then nothing is known of any.
        """
        answers: dict[int, Published | BadRequest] = {}
        repeated: dict[int, asyncio.Future[Place]] = {}
        new: dict[int, tuple[Key, NewRecord]] = {}
        starting: dict[str, _Start] = {}
        asked: set[str] = set()
        try:
            for index, event in enumerate(events):
                try:
                    await self._ask(event, asked)
                    # From here to where its start is held nothing is waited for: two at once can't both have it.
                    placed = self._in_its_project(identity, event)
                    record = self._encode(identity, placed, exclude)
                except BadRequest as error:
                    answers[index] = error
                    continue
                key = self._log.partition_of(record.key), event.id
                first = self._read_back.first_of(*key)
                if first is not None:
                    answers[index] = Published(event.id, Place(key[0], first), duplicate=True)
                elif (earlier := self._unread.find(key)) is not None:
                    repeated[index] = earlier
                elif (ended := self._ended_task(event)) is not None:
                    answers[index] = _too_late(ended)
                elif event.type == "project_created" and self._rights.rights.is_deleted(event.project_id or ""):
                    answers[index] = BadRequest(
                        f"project {event.project_id} was deleted, and its id is not given again: take another id",
                        code="conflict",
                        field="project_id",
                    )
                else:
                    self._unread.begin(key)
                    new[index] = key, record
                    if event.type == "task_started" and event.task_id is not None:
                        start = starting.setdefault(event.task_id, _Start(placed.project_id, placed.user_id))
                        self._hold(event.task_id, start)
            places = await self._log.append([record for _, record in new.values()]) if new else ()
        except BaseException:
            self._unread.fail(key for key, _ in new.values())
            for task, start in starting.items():
                if self._started.get(task) is start:
                    del self._started[task]
            raise
        self.appended += len(places)
        for (index, (key, _)), place in zip(new.items(), places, strict=True):
            self._unread.end(key, place)
            answers[index] = Published(key[1], place, duplicate=False)
        for task, start in starting.items():
            self._hold(task, start)  # another may have held it, and failed
        for index, earlier in repeated.items():
            answers[index] = Published(events[index].id, await earlier, duplicate=True)
        return [answers[index] for index in range(len(events))]

    def _encode(self, identity: Identity, event: Event, exclude: str | None) -> NewRecord:
        """The record of an event that `identity` may publish. Raises BadRequest."""
        if event.type in RIGHTS_TYPES and not identity.may_publish_rights:
            raise BadRequest(
                f"{event.type} changes rights: the token needs the scope publish:rights or the role admin",
                code="forbidden",
                field="type",
            )
        if event.type in PRESENCE_TYPES and not identity.is_admin:
            raise BadRequest(
                f"{event.type} is told by the service itself: send a type of your own",
                code="reserved_type",
                field="type",
            )
        try:
            return encode(event, self._max_event_bytes, exclude)
        except EventTooLarge as error:
            raise BadRequest(str(error), code="too_large", field="data") from error
        except NulCharacter as error:
            raise BadRequest(str(error), code="nul", field=error.field) from error

    async def _ask(self, event: Event, asked: set[str]) -> None:
        """Learn what the projection holds of the event's task, where it takes that; once for each of `asked`."""
        task = event.task_id
        if event.category is not Category.TASK or task is None or task in asked:
            return
        if self._rights.known(task) is not None or (task in self._started and not self._rights.rights.claims(task)):
            return
        asked.add(task)
        # Publishing does not depend on Postgres.
        with suppress(HistoryUnavailable):
            await self._rights.find(task)

    def _by_the_log(self, task: str) -> Task | None:
        """What the log says of a task, as far as that is known here; a part of it counts if it holds a start."""
        known = self._rights.known(task)
        if known is not None:
            return known
        claims = self._rights.rights.claims(task)
        return claims[0] if claims and claims[0].started else None

    def _fixed(self, task: str) -> "_Start | None":
        """What the start of a task has fixed; what the log says of it beats what this node has yet to read back."""
        known = self._by_the_log(task)
        if known is not None and known.started:
            self._started.pop(task, None)
            return _Start(known.project, known.user)
        return self._started.get(task)

    def _ended_task(self, event: Event) -> str | None:
        """The event's task, if it has ended."""
        if event.category is not Category.TASK or event.task_id is None:
            return None
        known = self._by_the_log(event.task_id)
        return event.task_id if known is not None and known.ended else None

    def _in_its_project(self, identity: Identity, event: Event) -> Event:
        """A task keeps one project and one owner for life: fill in what is missing, refuse another.

        What has not been started has them for now: a start may name others if its sender may change rights.
        """
        if event.category is not Category.TASK or event.task_id is None:
            return event
        is_start = event.type == "task_started"
        owner = self._fixed(event.task_id)
        if owner is None:
            known = self._by_the_log(event.task_id)
            if known is None:
                return event
            owner = _Start(known.project, known.user)
            if is_start:
                return self._taken_over(identity, event, owner)
        if event.project_id is None and owner.project is not None:
            event = event.model_copy(update={"project_id": owner.project})
        if event.project_id != owner.project:
            raise _conflict(event, "project_id", f"project {owner.project}" if owner.project else "no project")
        if is_start and event.user_id not in (None, owner.user):
            raise _conflict(event, "user_id", f"user {owner.user}" if owner.user else "no user")
        return event

    def _taken_over(self, identity: Identity, event: Event, owner: "_Start") -> Event:
        """The start of a task that other events have told of, whose project and user it keeps or first says."""
        missing = {
            field: said
            for field, said in (("project_id", owner.project), ("user_id", owner.user))
            if said is not None and getattr(event, field) is None
        }
        event = event.model_copy(update=missing) if missing else event
        if identity.may_publish_rights:
            return event
        if owner.project not in (None, event.project_id):
            raise _conflict(event, "project_id", f"project {owner.project}")
        if owner.user not in (None, event.user_id):
            raise _conflict(event, "user_id", f"user {owner.user}")
        return event

    def _hold(self, task: str, start: "_Start") -> None:
        """Hold a task for its start until the log tells of one, unless it has one."""
        if self._fixed(task) is None:
            self._started[task] = start
            if len(self._started) > _REMEMBERED:
                self._started.popitem(last=False)


class _Start(NamedTuple):
    """What the start of a task has fixed."""

    project: str | None
    user: str | None


def _too_late(task: str) -> BadRequest:
    return BadRequest(
        f"task {task} has ended, what is written for it now counts for nobody: start a task with another id",
        code="conflict",
        field="task_id",
    )


def _conflict(event: Event, field: str, owner: str) -> BadRequest:
    return BadRequest(
        f"task {event.task_id} belongs to {owner}, not to {getattr(event, field)}: "
        f"a task keeps its {'project' if field == 'project_id' else 'owner'} for life",
        code="conflict",
        field=field,
    )
