"""The in-memory twin of `Oversight`: of a deployment in which no consumer runs, and nothing is in quarantine."""

from collections.abc import Sequence

from service.ports import LivingRunner, Progress, QuarantinedRecord, QuarantinePlace


class MemoryOversight:
    """Has nothing to tell."""

    async def progress(self) -> Progress:
        return Progress({}, {})

    async def runners(self) -> Sequence[LivingRunner]:
        return []

    async def quarantined(self, limit: int, before: QuarantinePlace | None) -> Sequence[QuarantinedRecord]:
        return []
