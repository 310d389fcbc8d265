"""Appending what producers send: every event judged by itself, the good ones in one batch."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from lastseen.envelope import Event, NulCharacter
from lastseen.names import RIGHTS_TYPES, Category
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
        # What this node has appended the start of but perhaps not yet read back.
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
        found: dict[str, Task | None] = {}
        try:
            for index, event in enumerate(events):
                try:
                    placed = await self._in_its_project(event, starting, found)
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
                elif event.type == "task_started" and self._has_ended(event.task_id):
                    answers[index] = BadRequest(
                        f"task {event.task_id} has ended, and what is written for it now counts for nobody: "
                        "start a task with another id",
                        code="conflict",
                        field="task_id",
                    )
                else:
                    self._unread.begin(key)
                    new[index] = key, record
                    if event.type == "task_started" and event.task_id is not None:
                        starting.setdefault(event.task_id, _Start(placed.project_id, placed.user_id))
            places = await self._log.append([record for _, record in new.values()]) if new else ()
        except BaseException:
            self._unread.fail(key for key, _ in new.values())
            raise
        self.appended += len(places)
        for (index, (key, _)), place in zip(new.items(), places, strict=True):
            self._unread.end(key, place)
            answers[index] = Published(key[1], place, duplicate=False)
        self._remember(starting)
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
        try:
            return encode(event, self._max_event_bytes, exclude)
        except EventTooLarge as error:
            raise BadRequest(str(error), code="too_large", field="data") from error
        except NulCharacter as error:
            raise BadRequest(str(error), code="nul", field=error.field) from error

    def _has_ended(self, task: str | None) -> bool:
        claims = self._rights.rights.claims(task) if task is not None else ()
        return bool(claims) and claims[0].ended

    async def _in_its_project(
        self, event: Event, starting: Mapping[str, "_Start"], found: dict[str, Task | None]
    ) -> Event:
        """A task keeps one project and one owner for life: fill the project in where it is missing, refuse another.

        `starting` are the tasks that start in the same request, `found` is what was asked for it.
        """
        if event.category is not Category.TASK or event.task_id is None:
            return event
        start = starting.get(event.task_id) or self._started.get(event.task_id)
        if start is None:
            known = await self._find(event.task_id, found)
            # What has not been started has its project for now: the start may name another.
            if known is None or (not known.started and event.type == "task_started"):
                return event
            start = _Start(known.project, known.user if known.started else event.user_id)
        if event.project_id is None and start.project is not None:
            event = event.model_copy(update={"project_id": start.project})
        if event.project_id != start.project:
            raise _conflict(event, "project_id", f"project {start.project}" if start.project else "no project")
        if event.type == "task_started" and event.user_id not in (None, start.user):
            raise _conflict(event, "user_id", f"user {start.user}" if start.user else "no user")
        return event

    async def _find(self, task: str, found: dict[str, Task | None]) -> Task | None:
        if task not in found:
            try:
                found[task] = await self._rights.find(task)
            except HistoryUnavailable:
                found[task] = None  # publishing does not depend on Postgres
        return found[task]

    def _remember(self, starting: Mapping[str, "_Start"]) -> None:
        """The log has these starts; the tail will tell everybody else."""
        for task, start in starting.items():
            self._started.setdefault(task, start)
            if len(self._started) > _REMEMBERED:
                self._started.popitem(last=False)


class _Start(NamedTuple):
    """What the start of a task has fixed."""

    project: str | None
    user: str | None


def _conflict(event: Event, field: str, owner: str) -> BadRequest:
    return BadRequest(
        f"task {event.task_id} belongs to {owner}, not to {getattr(event, field)}: "
        f"a task keeps its {'project' if field == 'project_id' else 'owner'} for life",
        code="conflict",
        field=field,
    )
