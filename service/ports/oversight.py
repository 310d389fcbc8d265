"""How far everything else has come, for who looks after it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """Per partition that it has begun, the offset that a consumer of the log comes to next."""

    log_writer: Mapping[int, int]
    projections: Mapping[int, int]


class LivingRunner(NamedTuple):
    """An incarnation of a runner that nobody has said to be lost."""

    name: str
    incarnation: str
    renewed_at: datetime
    tasks: int
    """Those that it has claimed and not ended."""


class QuarantinedRecord(NamedTuple):
    """A record that no reader can use. Of its value and headers the beginning, as text."""

    epoch: int
    partition: int
    offset: int
    at: datetime
    """When the log writer came to it."""
    appended_at: datetime | None
    reason: str
    detail: str
    channels: str | None
    key: bytes | None
    value: bytes | None
    value_bytes: int
    headers: str | None
    """JSON: pairs of a name and a value in base64, or null; None where they are very long."""


class QuarantinePlace(NamedTuple):
    """Where the quarantine is read on: below this, by the time and then the place."""

    at: datetime
    epoch: int
    partition: int
    offset: int


class Oversight(Protocol):
    """What whoever looks after a deployment wants to see of its consumers.

    Every call raises HistoryUnavailable while the database does not answer.
    """

    async def progress(self) -> Progress:
        """How far the consumers of the log have come."""
        ...

    async def runners(self) -> Sequence[LivingRunner]:
        """By their names."""
        ...

    async def quarantined(self, limit: int, before: QuarantinePlace | None) -> Sequence[QuarantinedRecord]:
        """At most so many records of the quarantine, the newest first, of all epochs; those below a place."""
        ...
