"""A measured figure beside a limit of the same run, and the ratio of the two."""

import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Pair(NamedTuple):
    """One repetition: ours, and right after it the limit."""

    ours: float
    limit: float

    @property
    def ratio(self) -> float:
        return self.ours / self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `unit` is that of both figures; `limit` says what ours is held against."""

    benchmark: str
    measured: str
    unit: str
    limit: str
    pairs: Sequence[Pair]

    @property
    def figure(self) -> float:
        """The median of ours."""
        return median(pair.ours for pair in self.pairs)

    @property
    def limit_figure(self) -> float:
        """The median of the limit."""
        return median(pair.limit for pair in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios: what the machine did meanwhile falls on both of a pair."""
        return median(pair.ratio for pair in self.pairs)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio."""
        ratios = [pair.ratio for pair in self.pairs]
        return min(ratios), max(ratios)

    def as_json(self) -> dict[str, object]:
        """The row with everything that is computed from it."""
        low, high = self.spread
        computed = {"figure": self.figure, "limit_figure": self.limit_figure, "ratio": self.ratio}
        return asdict(self) | computed | {"spread": [low, high]}


async def in_turn(pairs: int, *measures: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """Take the measures one after the other, `pairs` times (A B A B …); one list of results for each."""
    results: list[list[T]] = [[] for _ in measures]
    for _ in range(pairs):
        for found, measure in zip(results, measures, strict=True):
            gc.collect()
            found.append(await measure())
    return results


def paired(ours: Sequence[float], limit: Sequence[float]) -> list[Pair]:
    """The repetitions of two measures that were taken in turn."""
    return [Pair(*both) for both in zip(ours, limit, strict=True)]
