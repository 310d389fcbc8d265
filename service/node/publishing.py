"""Appending what producers send: every event judged by itself, the good ones in one batch."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lastseen.envelope import Event, NulCharacter
from lastseen.names import RIGHTS_TYPES, Category
from lastseen.record import EventTooLarge, NewRecord, encode

from service.domain.errors import BadRequest, HistoryUnavailable
from service.domain.identity import Identity
from service.node.tasks import Tasks
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

    def __init__(
        self, log: EventLog, tasks: Tasks, first_of: Callable[[int, str], int | None], max_event_bytes: int
    ) -> None:
        self._log = log
        self._tasks = tasks
        self._first_of = first_of
        self._max_event_bytes = max_event_bytes
        # Tasks whose first event this node has accepted but perhaps not yet read back.
        self._projects: OrderedDict[str, str | None] = OrderedDict()

    async def publish(self, identity: Identity, events: Sequence[Event]) -> list[Published | BadRequest]:
        """One answer for each event, in order. Raises LogUnavailable, and then nothing is known of any."""
        answers: list[Published | BadRequest | None] = [None] * len(events)
        records: list[NewRecord] = []
        indexes: list[int] = []
        ids: list[str] = []
        for index, event in enumerate(events):
            try:
                placed = await self._in_its_project(event)
                if placed.type in RIGHTS_TYPES and not identity.may_publish_rights:
                    raise BadRequest(
                        f"{placed.type} changes rights: the token needs the scope publish:rights or the role admin",
                        code="forbidden",
                        field="type",
                    )
                record = encode(placed, self._max_event_bytes)
            except EventTooLarge as error:
                answers[index] = BadRequest(str(error), code="too_large", field="data")
            except NulCharacter as error:
                answers[index] = BadRequest(str(error), code="nul", field=error.field)
            except BadRequest as error:
                answers[index] = error
            else:
                partition = self._log.partition_of(record.key)
                first = self._first_of(partition, event.id)
                if first is not None:
                    answers[index] = Published(event.id, Place(partition, first), duplicate=True)
                elif event.type == "task_started" and self._has_ended(event.task_id):
                    answers[index] = BadRequest(
                        f"task {event.task_id} has ended, and what is written for it now counts for nobody: "
                        "start a task with another id",
                        code="conflict",
                        field="task_id",
                    )
                else:
                    records.append(record)
                    indexes.append(index)
                    ids.append(event.id)
        places = await self._log.append(records) if records else ()
        first_here: dict[tuple[int, str], Place] = {}
        for index, id_, place in zip(indexes, ids, places, strict=True):
            first_place = first_here.setdefault((place.partition, id_), place)
            answers[index] = Published(id_, first_place, duplicate=first_place != place)
        return [answer for answer in answers if answer is not None]

    def _has_ended(self, task: str | None) -> bool:
        facts = self._tasks.known(task) if task is not None else None
        return facts is not None and facts.ended

    async def _in_its_project(self, event: Event) -> Event:
        """A task keeps one project for life: fill it in where it is missing, refuse another."""
        if event.category is not Category.TASK or event.task_id is None:
            return event
        task = event.task_id
        if task in self._projects:
            project = self._projects[task]
        else:
            try:
                facts = await self._tasks.find(task)
            except HistoryUnavailable:
                return event  # publishing does not depend on Postgres
            if facts is None and event.type != "task_started":
                return event  # nothing has fixed its project yet
            project = event.project_id if facts is None else facts.project
            self._projects[task] = project
            if len(self._projects) > _REMEMBERED:
                self._projects.popitem(last=False)
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
