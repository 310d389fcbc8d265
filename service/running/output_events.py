"""What is published of a program's output, and of the questions in it that somebody has to answer."""

from collections.abc import Callable, Sequence

from lastseen.envelope import MAX_EVENT_BYTES, Event
from lastseen.task_events import TaskEvents
from pydantic import JsonValue

from service.running.adapter import CONFIRMATION_REQUIRED, Adapter, Published, Said


class OutputEvents:
    """Makes the events of what an adapter gives; `warn` is told, once, of one that can't be an event.

    Readers keep one question, the one said last, and only while the task waits. So where they don't know of one that
    is open it is said again.
    """

    def __init__(self, events: TaskEvents, adapter: Adapter, warn: Callable[[str], None]) -> None:
        self._events = events
        self._adapter = adapter
        self._warn = warn
        self._warned = False
        self._asked: dict[str, dict[str, JsonValue]] = {}
        self._shown: str | None = None

    def of(self, published: Sequence[Published], *, paused: bool) -> list[Event]:
        """The events of these. A paused task's questions are kept for `question`: now they would end the pause."""
        events = []
        for one in published:
            if isinstance(one, Said) and one.type == CONFIRMATION_REQUIRED:
                id_ = str(one.data.get("confirmation_id"))
                self._asked[id_] = one.data
                if paused:
                    continue
                self._shown = id_
            if (event := self._event(one)) is not None:
                events.append(event)
        return events

    @property
    def is_asking(self) -> bool:
        """Whether a question is open."""
        open_ = self._adapter.open_confirmations
        if self._asked:
            self._asked = {id_: data for id_, data in self._asked.items() if id_ in open_}
        return bool(open_)

    def hide(self) -> None:
        """Readers forget the question: the task is paused."""
        self._shown = None

    def question(self) -> list[Event]:
        """An open question, where readers know of none that is open."""
        if not self._asked or self._shown in self._asked:
            return []
        self._shown, data = next(iter(self._asked.items()))
        event = self._event(Said(CONFIRMATION_REQUIRED, data))
        return [] if event is None else [event]

    def _event(self, published: Published) -> Event | None:
        plain = None
        try:
            if isinstance(published, Said):
                event = self._events.said(published.type, published.data)
            else:
                chunk, more = published
                event = plain = self._events.output(chunk)
                if not more:
                    return event
                event = self._events.output(chunk, more)
            if (size := len(event.to_json())) > MAX_EVENT_BYTES:
                raise ValueError(f"it has {size} bytes, {MAX_EVENT_BYTES} are possible")
        except ValueError as error:
            if not self._warned:
                self._warned = True
                self._warn(f"the task's adapter said what can't be an event: {error}")
            return plain
        return event
