"""What this node knows of tasks: project, user and whether they have ended."""

from collections import OrderedDict
from typing import Final

from lastseen.names import TERMINAL_TYPES

from service.domain.records import Record
from service.ports import History, TaskFacts

_REMEMBERED: Final = 100_000


class Tasks:
    """Learned from the records as they pass, and from the history where they passed before this node's time.

    Bounded: the task heard of least recently is forgotten and asked for again.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._facts: OrderedDict[str, TaskFacts] = OrderedDict()

    def note(self, record: Record) -> None:
        """Learn from a record that is not void."""
        task = record.task
        if task is None:
            return
        known = self._facts.get(task)
        ended = record.type in TERMINAL_TYPES
        if known is not None:
            if ended and not known.ended:
                self._facts[task] = known._replace(ended=True)
            return
        if record.type == "task_started":
            self.learn(task, _facts_of(record))

    def learn(self, task: str, facts: TaskFacts) -> None:
        """Remember what is known of a task."""
        self._facts[task] = facts
        self._facts.move_to_end(task)
        if len(self._facts) > _REMEMBERED:
            self._facts.popitem(last=False)

    def known(self, task: str) -> TaskFacts | None:
        """What is known without asking anybody."""
        return self._facts.get(task)

    async def find(self, task: str) -> TaskFacts | None:
        """What the log says of a task, or None for one without events. Raises HistoryUnavailable."""
        facts = self._facts.get(task)
        if facts is None:
            facts = await self._history.task(task)
            # It may have started, or ended, while the question was under way.
            noted = self._facts.get(task)
            if noted is not None:
                facts = noted if facts is None else facts._replace(ended=facts.ended or noted.ended)
            if facts is not None:
                self.learn(task, facts)
        return facts


def _facts_of(record: Record) -> TaskFacts:
    ids = dict(name.split(":", 1) for name in record.channels if ":" in name)
    return TaskFacts(ids.get("project"), ids.get("user"), ended=False)
