"""Which source serves what a catching-up subscription wants next of one partition.

Newest first: the node's window, Postgres, Kafka. The plan is made anew before every page, so it does not
matter what moved meanwhile: the window slides, the log writer lags, retention passes, Postgres or Kafka goes away.
`after` is the last offset seen. Of a Kafka that does not answer the bounds that it had last are known, and hold from
below: what it did not hold then it has not got back.
"""

from dataclasses import dataclass

from service.domain.ranges import Bounds, Coverage


@dataclass(frozen=True, slots=True)
class FromWindow:
    """The window holds everything above `after` that this node has read."""


@dataclass(frozen=True, slots=True)
class FromHistory:
    """Postgres holds `(after, upto]`."""

    upto: int


@dataclass(frozen=True, slots=True)
class FromLog:
    """Kafka holds `(after, upto]`."""

    upto: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Nobody holds `(after, earliest]`; what is held next lies above `earliest`."""

    earliest: int
    reason: str
    """`retention` or `lost`, as the wire has it."""


@dataclass(frozen=True, slots=True)
class NeedsHistory:
    """Kafka no longer holds it, and Postgres, which may, does not answer."""


@dataclass(frozen=True, slots=True)
class NeedsLog:
    """Postgres does not hold it, or does not answer, and Kafka, which may hold it, does not answer."""


Step = FromWindow | FromHistory | FromLog | Missing | NeedsHistory | NeedsLog


def plan(
    after: int,
    window_first: int,
    log: Bounds | None,
    history: Coverage | None,
    *,
    log_known: bool = True,
    history_known: bool = True,
) -> Step:
    """The next step of one partition.

    `log` is what Kafka holds or, where `log_known` is False because it does not answer, held when it did (None: it
    never did). `history` is None where nothing of the partition has been copied yet; `history_known` is False while
    Postgres does not answer. The log writer's holes are `lost` only where Kafka lacks them too.

    Both answers have to be to questions asked once `after` lay before the window: an earlier one does not know of
    what was appended since, which would be called missing.
    """
    wanted = after + 1
    if wanted >= window_first:
        return FromWindow()
    if not history_known:
        history = None
    if history is not None and history.first <= wanted < history.next and history.hole_at(wanted) is None:
        ends = [history.next, window_first, *(hole[0] for hole in history.holes if hole[0] > wanted)]
        return FromHistory(min(ends) - 1)
    if log is None or (not log_known and wanted >= log.first):
        return NeedsLog()
    if log.first <= wanted < log.next:
        ends = [log.next, window_first]
        if history is not None and history.first > wanted:
            ends.append(history.first)
        return FromLog(min(ends) - 1)
    if not history_known:
        return NeedsHistory()
    hole = history.hole_at(wanted) if history is not None else None
    starts = [log.first, window_first]
    if hole is not None:
        starts.append(hole[1])
    elif history is not None:
        starts.append(history.first)
    return Missing(min(start for start in starts if start > wanted) - 1, "lost" if hole else "retention")


def earliest(
    window_first: int,
    log: Bounds | None,
    history: Coverage | None,
    *,
    history_known: bool = True,
) -> int | NeedsHistory | NeedsLog:
    """The position before everything held of a partition, or who would have to tell; the arguments are as in `plan`.

    By bounds that Kafka had before it may lie too low, never too high: what is gone is found when it is asked for.
    """
    if window_first == 0 or (log is not None and log.first == 0):
        return -1
    if not history_known:
        return NeedsHistory()
    if history is not None and history.first == 0 and history.next > 0 and history.hole_at(0) is None:
        return -1
    if log is None:
        return NeedsLog()
    starts = [log.first, window_first]
    if history is not None and history.next > history.first:
        hole = history.hole_at(history.first)
        starts.append(hole[1] if hole else history.first)
    return min(starts) - 1
