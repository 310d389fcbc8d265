"""What this node knows of tasks: project, user and whether they have ended."""

from collections import OrderedDict
from typing import Final, TypeVar

from lastseen.names import TERMINAL_TYPES

from service.domain.errors import HistoryUnavailable
from service.domain.records import Record
from service.domain.window import Window
from service.ports import History, TaskFacts

_REMEMBERED: Final = 100_000

T = TypeVar("T")


class Tasks:
    """Learned from the records as they pass, and from history and window where they passed unlearned.

    Bounded: the task heard of least recently is forgotten and asked for again.
    """

    def __init__(self, history: History, window: Window) -> None:
        self._history = history
        self._window = window
        self._facts: OrderedDict[str, TaskFacts] = OrderedDict()
        # Seen to end without having been seen to start; the history may not have come so far.
        self._ended: OrderedDict[str, None] = OrderedDict()

    def note(self, record: Record) -> None:
        """Learn from a record that is not void."""
        task = record.task
        if task is None:
            return
        known = self._facts.get(task)
        if record.type in TERMINAL_TYPES:
            if known is None:
                _remember(self._ended, task, None)
            elif not known.ended:
                self._facts[task] = known._replace(ended=True)
        elif known is None and record.type == "task_started":
            self._learn(task, _facts_of(record))

    def known(self, task: str) -> TaskFacts | None:
        """What is known without asking anybody."""
        return self._facts.get(task)

    async def find(self, task: str) -> TaskFacts | None:
        """What the log says of a task, or None for one without events.

        Raises HistoryUnavailable where neither memory nor window know it and Postgres does not answer.
        """
        facts = self._facts.get(task)
        if facts is not None:
            return facts
        try:
            facts = await self._history.task(task)
        except HistoryUnavailable:
            # Known to the window alone, it is asked for again when Postgres is back.
            facts = self._facts.get(task) or self._in_window(task)
            if facts is None:
                raise
            return facts
        # It may have started while the question was under way.
        facts = self._facts.get(task) or facts
        if facts is None:
            # Not copied yet, so all of it is in the window; without its start that may not be its project for life.
            return self._in_window(task)
        return self._learn(task, facts)

    async def is_all_known(self) -> bool:
        """Whether each record that this node has read is in the window or in the history."""
        coverage = await self._history.coverage()
        return all(
            self._window.first(p) == 0 or (p in coverage and coverage[p].next >= self._window.first(p))
            for p in self._window.partitions
        )

    def _learn(self, task: str, facts: TaskFacts) -> TaskFacts:
        if task in self._ended:
            del self._ended[task]
            facts = facts._replace(ended=True)
        _remember(self._facts, task, facts)
        return facts

    def _in_window(self, task: str) -> TaskFacts | None:
        first = self._window.first_of(f"task:{task}")
        return None if first is None else _facts_of(first)._replace(ended=task in self._ended)


def _remember(memory: OrderedDict[str, T], task: str, value: T) -> None:
    memory[task] = value
    memory.move_to_end(task)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _facts_of(record: Record) -> TaskFacts:
    ids = dict(name.split(":", 1) for name in record.channels if ":" in name)
    return TaskFacts(ids.get("project"), ids.get("user"), ended=False)
