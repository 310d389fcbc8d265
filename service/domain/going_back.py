"""Which source holds what comes before a position of one partition: the plan of pages that go back.

As `catchup.plan` it is made anew before every page. `upto` is the highest offset wanted (inclusive).
"""

from dataclasses import dataclass
from enum import Enum, auto

from service.domain.catchup import NeedsHistory, NeedsLog
from service.domain.ranges import Bounds, Coverage


class Source(Enum):
    """Who holds records."""

    WINDOW = auto()
    HISTORY = auto()
    LOG = auto()


@dataclass(frozen=True, slots=True)
class Stretch:
    """The source holds `[down_to, upto]`."""

    source: Source
    down_to: int


@dataclass(frozen=True, slots=True)
class MissingBelow:
    """Nobody holds `[first, upto]`, but what lies below may be held."""

    first: int
    reason: str
    """`retention` or `lost`, as the wire has it."""


@dataclass(frozen=True, slots=True)
class NothingBelow:
    """Nobody holds `upto` or anything below it."""


StepBack = Stretch | MissingBelow | NothingBelow | NeedsHistory | NeedsLog


def plan_back(
    upto: int,
    window_first: int,
    log: Bounds | None,
    history: Coverage | None,
    *,
    log_known: bool = True,
    history_known: bool = True,
) -> StepBack:
    """The next step back of one partition; the arguments are those of `catchup.plan`."""
    if upto < 0:
        return NothingBelow()
    if upto >= window_first:
        return Stretch(Source.WINDOW, window_first)
    if not history_known:
        history = None
    hole = history.hole_at(upto) if history is not None else None
    if history is not None and history.first <= upto < history.next and hole is None:
        ends = [history.first, *(end for _, end in history.holes if end <= upto)]
        return Stretch(Source.HISTORY, max(ends))
    if log is None or (not log_known and upto >= log.first):
        return NeedsLog()
    if log.first <= upto < log.next:
        starts = [log.first]
        if hole is not None:
            starts.append(hole[0])
        elif history is not None and history.next <= upto:
            starts.append(history.next)
        return Stretch(Source.LOG, max(starts))
    if not history_known:
        return NeedsHistory()
    if history is None or history.first == history.next or upto < history.first:
        return NothingBelow()
    if hole is not None:
        return MissingBelow(hole[0], "lost") if hole[0] > history.first else NothingBelow()
    return MissingBelow(history.next, "retention")
