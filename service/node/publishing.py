"""Appending what producers send: every event judged by itself, the good ones in one batch."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lastseen.envelope import Event, NulCharacter
from lastseen.names import RIGHTS_TYPES, Category
from lastseen.record import EventTooLarge, NewRecord, encode

from service.domain.errors import BadRequest, HistoryUnavailable
from service.domain.identity import Identity
from service.node.tasks import Tasks
from service.node.unread import Key, ReadBack, Unread
from service.ports import EventLog, Place, TaskFacts

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Published:
    """An event that the log has. For a known duplicate the place is that of the first."""

    id: str
    place: Place
    duplicate: bool


class Publisher:
    """Appends events for callers, and answers with their places."""

    def __init__(self, log: EventLog, tasks: Tasks, read_back: ReadBack, max_event_bytes: int) -> None:
        self._log = log
        self._tasks = tasks
        self._read_back = read_back
        self._max_event_bytes = max_event_bytes
        self._unread = Unread(read_back)
        # Projects of tasks whose start this node has appended but perhaps not yet read back.
        self._projects: OrderedDict[str, str | None] = OrderedDict()

    async def publish(self, identity: Identity, events: Sequence[Event]) -> list[Published | BadRequest]:
        """One answer for each event, in order. Raises LogUnavailable, and then nothing is known of any."""
        answers: dict[int, Published | BadRequest] = {}
        repeated: dict[int, asyncio.Future[Place]] = {}
        new: dict[int, tuple[Key, NewRecord]] = {}
        projects: dict[str, str | None] = {}
        found: dict[str, TaskFacts | None] = {}
        try:
            for index, event in enumerate(events):
                try:
                    placed = await self._in_its_project(event, projects, found)
                    record = self._encode(identity, placed)
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
                        projects.setdefault(event.task_id, placed.project_id)
            places = await self._log.append([record for _, record in new.values()]) if new else ()
        except BaseException:
            self._unread.fail(key for key, _ in new.values())
            raise
        for (index, (key, _)), place in zip(new.items(), places, strict=True):
            self._unread.end(key, place)
            answers[index] = Published(key[1], place, duplicate=False)
        self._remember(projects)
        for index, earlier in repeated.items():
            answers[index] = Published(events[index].id, await earlier, duplicate=True)
        return [answers[index] for index in range(len(events))]

    def _encode(self, identity: Identity, event: Event) -> NewRecord:
        """The record of an event that `identity` may publish. Raises BadRequest."""
        if event.type in RIGHTS_TYPES and not identity.may_publish_rights:
            raise BadRequest(
                f"{event.type} changes rights: the token needs the scope publish:rights or the role admin",
                code="forbidden",
                field="type",
            )
        try:
            return encode(event, self._max_event_bytes)
        except EventTooLarge as error:
            raise BadRequest(str(error), code="too_large", field="data") from error
        except NulCharacter as error:
            raise BadRequest(str(error), code="nul", field=error.field) from error

    def _has_ended(self, task: str | None) -> bool:
        facts = self._tasks.known(task) if task is not None else None
        return facts is not None and facts.ended

    async def _in_its_project(
        self, event: Event, starting: Mapping[str, str | None], found: dict[str, TaskFacts | None]
    ) -> Event:
        """A task keeps one project for life: fill it in where it is missing, refuse another.

        `starting` are the projects of tasks that start in the same request, `found` is what was asked for it.
        """
        if event.category is not Category.TASK or event.task_id is None:
            return event
        task = event.task_id
        if task in starting or task in self._projects:
            project = starting[task] if task in starting else self._projects[task]
        else:
            if task not in found:
                try:
                    found[task] = await self._tasks.find(task)
                except HistoryUnavailable:
                    found[task] = None  # publishing does not depend on Postgres
            facts = found[task]
            if facts is None:
                return event  # nothing has fixed its project yet
            project = facts.project
        if event.project_id is None and project is not None:
            return event.model_copy(update={"project_id": project})
        if event.project_id != project:
            raise BadRequest(
                f"task {task} belongs to {f'project {project}' if project else 'no project'}, "
                f"not to {event.project_id}: a task keeps its project for life",
                code="conflict",
                field="project_id",
            )
        return event

    def _remember(self, projects: Mapping[str, str | None]) -> None:
        """The log has these starts; the tail will tell everybody else."""
        for task, project in projects.items():
            self._projects.setdefault(task, project)
            if len(self._projects) > _REMEMBERED:
                self._projects.popitem(last=False)
