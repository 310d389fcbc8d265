"""What this node knows of rights: loaded once, then from its own tail; an old task is asked for."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from service.domain.errors import HistoryUnavailable
from service.domain.records import Record
from service.domain.rights import Change, Rights
from service.domain.tasks import Task
from service.node.patience import Patience
from service.ports import HeldRights, RightsLoader

_TASK: Final = "task:"
_SECONDS: Final = 2.0
"""How long a question about a task may take."""


class KnownRights:
    """The fold of all that the log says up to where the tail has read."""

    def __init__(
        self, rights: Rights, loader: RightsLoader, held: HeldRights, patience: Patience | None = None
    ) -> None:
        self.rights = rights
        self._loader = loader
        self._patience = patience
        self._watching: Counter[str] = Counter()
        rights.load(held.projects, held.members, held.tasks, others=held.others)
        # What lies below is in what was loaded; to fold it once more would bring back what was taken since.
        self._loaded: Mapping[int, int] = dict(held.next)

    def note(self, record: Record) -> Change | None:
        """Learn from a record that is not void."""
        if record.offset < self._loaded.get(record.partition, 0):
            return None
        return self.rights.apply(record)

    def watched(self, channel: str) -> None:
        """Somebody more watches a channel."""
        if channel.startswith(_TASK):
            self._watching[channel] += 1
            self.rights.pin(channel.removeprefix(_TASK))

    def unwatched(self, channel: str) -> None:
        """Somebody does no longer."""
        if channel.startswith(_TASK):
            self._watching[channel] -= 1
            if not self._watching[channel]:
                del self._watching[channel]
                self.rights.unpin(channel.removeprefix(_TASK))

    def known(self, task: str) -> Task | None:
        """What is known without asking anybody."""
        return self.rights.task(task)

    async def find(self, task: str) -> Task | None:
        """What the log says of a task up to where the tail has read, or None for one without events.

        Raises HistoryUnavailable where only Postgres could tell and does not answer, or is behind.
        """
        found = self.rights.task(task)
        if found is not None or self.rights.is_unheard_of(task):
            return found
        asking = self._loader.task(task)
        held = await (self._patience.within(_SECONDS, asking) if self._patience is not None else asking)
        if not self.rights.learn(task, held.claims, held.next):
            raise HistoryUnavailable("the projection of rights is behind what this node has forgotten: try again")
        return self.rights.task(task)
