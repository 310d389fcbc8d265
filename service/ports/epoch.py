"""The epoch that offsets are of."""

from typing import NamedTuple

from service.domain.epochs import Loss


class Epoch(NamedTuple):
    """A stretch of time during which offsets keep their meaning."""

    number: int
    name: str
    partitions: int
    first_of_topic: int = 1
    """The number of the epoch that the present topic began with: since then it got more partitions, or lost records."""
    losses: tuple[Loss, ...] = ()
    """What the topic has lost since then, the earliest loss first."""

    @property
    def loss(self) -> Loss | None:
        """The loss that this epoch began with."""
        return self.losses[-1] if self.losses and self.losses[-1].epoch == self.number else None
