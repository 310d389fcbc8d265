"""What both emitters have in common: the calls, and from a call to the record that is appended."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from lastseen.envelope import MAX_EVENT_BYTES, Event, NulCharacter
from lastseen.errors import InvalidEvent
from lastseen.field_errors import field_errors
from lastseen.names import Category, TaskEvents
from lastseen.record import NewRecord, encode
from lastseen.task_projects import TaskProjects

BOOTSTRAP_VARIABLE: Final = "LASTSEEN_KAFKA"
DEFAULT_TOPIC: Final = "events"
DEFAULT_TIMEOUT: Final = 10.0

Answer = TypeVar("Answer")
Fields = dict[str, Any]


class Emitted(NamedTuple):
    """An event that Kafka has on all replicas in sync, and where it stands in the log.

    Of an event that was emitted twice with one id every reader takes the first and passes over the second.
    """

    id: str
    partition: int
    offset: int


class Emitter(ABC, Generic[Answer]):
    """The calls of an emitter, whose answers are `Answer`.

    `event_type` is a name of `lastseen.names` or one of your own (`[a-z][a-z0-9_]{0,63}`). What all calls take
    by keyword: `id` (made once where it is left out; give the one of an attempt that failed, and the event
    counts once), `sender_id`, `priority` (0 to 10), `ttl` (seconds for which a replay delivers the event),
    `timestamp` (now).
    """

    @abstractmethod
    def _emit(self, fields: Fields) -> Answer:
        """The answer to a call; None stands for a field that was left out."""

    def emit_task_event(
        self,
        event_type: str,
        task_id: str,
        data: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        project_id: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the envelope's word
        sender_id: str | None = None,
        priority: int | None = None,
        ttl: int | None = None,
        timestamp: datetime | str | None = None,
    ) -> Answer:
        """An event of a task. A project that was said of the task before is filled in.

        Raises OtherProject where it is another.
        """
        return self._emit(
            {
                "type": event_type,
                "category": Category.TASK,
                "task_id": task_id,
                "data": data,
                "user_id": user_id,
                "project_id": project_id,
                "id": id,
                "sender_id": sender_id,
                "priority": priority,
                "ttl": ttl,
                "timestamp": timestamp,
            }
        )

    def emit_project_event(
        self,
        event_type: str,
        project_id: str,
        data: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        *,
        id: str | None = None,  # noqa: A002
        sender_id: str | None = None,
        priority: int | None = None,
        ttl: int | None = None,
        timestamp: datetime | str | None = None,
    ) -> Answer:
        """An event of a project; `user_id` is who did it. A change of membership names the member in `data`."""
        return self._emit(
            {
                "type": event_type,
                "category": Category.PROJECT,
                "project_id": project_id,
                "data": data,
                "user_id": user_id,
                "id": id,
                "sender_id": sender_id,
                "priority": priority,
                "ttl": ttl,
                "timestamp": timestamp,
            }
        )

    def emit_system_event(
        self,
        event_type: str,
        data: Mapping[str, Any] | None = None,
        priority: int = 5,
        *,
        id: str | None = None,  # noqa: A002
        sender_id: str | None = None,
        ttl: int | None = None,
        timestamp: datetime | str | None = None,
    ) -> Answer:
        """An event for administrators, and with a priority of 8 or more for everybody."""
        return self._emit(
            {
                "type": event_type,
                "category": Category.SYSTEM,
                "data": data,
                "priority": priority,
                "id": id,
                "sender_id": sender_id,
                "ttl": ttl,
                "timestamp": timestamp,
            }
        )

    def emit_user_event(
        self,
        event_type: str,
        user_id: str,
        data: Mapping[str, Any] | None = None,
        *,
        project_id: str | None = None,
        id: str | None = None,  # noqa: A002
        sender_id: str | None = None,
        priority: int | None = None,
        ttl: int | None = None,
        timestamp: datetime | str | None = None,
    ) -> Answer:
        """An event that reaches one user. With `project_id` it is in that project's order."""
        return self._emit(
            {
                "type": event_type,
                "category": Category.USER,
                "user_id": user_id,
                "data": data,
                "project_id": project_id,
                "id": id,
                "sender_id": sender_id,
                "priority": priority,
                "ttl": ttl,
                "timestamp": timestamp,
            }
        )


class Records:
    """Makes the records of emitted events."""

    def __init__(self) -> None:
        self._projects = TaskProjects()

    def make(self, fields: Fields) -> tuple[str, NewRecord]:
        """The event's id and its record. Raises InvalidEvent, EventTooLarge."""
        try:
            event = Event.model_validate({name: value for name, value in fields.items() if value is not None})
        except ValidationError as error:
            found = field_errors(error)
            text = "; ".join(f"{one.field}: {one.detail}" for one in found)
            raise InvalidEvent(text, field=found[0].field) from error
        if event.category is Category.TASK and event.task_id is not None:
            starts = event.type == TaskEvents.STARTED
            project = self._projects.settle(event.task_id, event.project_id, starts=starts)
            if project != event.project_id:
                event = event.model_copy(update={"project_id": project})
        try:
            return event.id, encode(event, MAX_EVENT_BYTES)
        except NulCharacter as error:
            raise InvalidEvent(str(error), field=error.field, code="nul") from error

    def forked(self) -> None:
        """Go on in a forked child."""
        self._projects.forked()


def addresses(bootstrap_servers: str | Sequence[str] | None) -> list[str]:
    """Where Kafka is asked for first: as given, else from the environment variable LASTSEEN_KAFKA.

    Raises ValueError where neither names it.
    """
    given = os.environ.get(BOOTSTRAP_VARIABLE, "") if bootstrap_servers is None else bootstrap_servers
    parts = given.split(",") if isinstance(given, str) else given
    found = [part.strip() for part in parts if part.strip()]
    if not found:
        raise ValueError(
            f"no address of Kafka: give bootstrap_servers, such as 'localhost:9092', or set {BOOTSTRAP_VARIABLE}"
        )
    return found


def checked_timeout(timeout: float) -> float:
    """`timeout`. Raises ValueError where it is no time that an emitter could wait."""
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout}")
    return timeout
