"""The in-memory twin of the leases of runners."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from service.domain.errors import HistoryUnavailable
from service.ports import Claim


class MemoryLeases:
    """`Leases` in memory. While `available` is false every call raises HistoryUnavailable."""

    def __init__(self) -> None:
        self._living: dict[str, int] = {}
        self._claims: dict[str, tuple[Claim, datetime | None]] = {}
        self.available = True

    def make_older(self, by: timedelta) -> None:
        """Let what has ended have ended longer ago."""
        self._claims = {task: (claim, at and at - by) for task, (claim, at) in self._claims.items()}

    async def begin(self, runner: str, name: str) -> None:
        self._check()
        self._living.setdefault(runner, 0)

    async def renew(self, runner: str) -> bool:
        self._check()
        if runner not in self._living:
            return False
        self._living[runner] += 1
        return True

    async def renewals(self) -> Mapping[str, int]:
        self._check()
        return dict(self._living)

    async def lose(self, runner: str, renewal: int) -> bool:
        self._check()
        if self._living.get(runner) != renewal:
            return False
        del self._living[runner]
        return True

    async def leave(self, runner: str) -> None:
        self._check()
        self._living.pop(runner, None)

    async def claim(self, claim: Claim) -> bool:
        self._check()
        if claim.runner not in self._living:
            return False
        held, ended_at = self._claims.setdefault(claim.task, (claim, None))
        return held[:4] == claim[:4] and ended_at is None

    async def release(self, claim: Claim) -> None:
        self._check()
        if self._is_open(claim):
            del self._claims[claim.task]

    async def end(self, claims: Sequence[Claim]) -> None:
        self._check()
        for claim in claims:
            if self._is_open(claim):
                self._claims[claim.task] = (self._claims[claim.task][0], datetime.now(UTC))

    async def is_held(self, task: str) -> bool:
        self._check()
        claim, ended_at = self._claims.get(task, (None, None))
        return claim is not None and ended_at is None and claim.runner in self._living

    async def lost(self) -> Sequence[Claim]:
        self._check()
        return sorted(
            claim for claim, ended_at in self._claims.values() if ended_at is None and claim.runner not in self._living
        )

    async def sweep(self, days: int) -> None:
        self._check()
        since = datetime.now(UTC) - timedelta(days=days)
        self._claims = {task: held for task, held in self._claims.items() if held[1] is None or held[1] >= since}

    def _is_open(self, claim: Claim) -> bool:
        held, ended_at = self._claims.get(claim.task, (None, None))
        return held is not None and held.runner == claim.runner and ended_at is None

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("the leases were made unavailable")
