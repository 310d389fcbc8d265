import pytest

from service.domain.catchup import (
    FromHistory,
    FromLog,
    FromWindow,
    Missing,
    NeedsHistory,
    NeedsLog,
    Step,
    earliest,
    plan,
)
from service.domain.ranges import Bounds, Coverage

ALL = Coverage(0, 90)
"""Postgres lags: it has 0 to 89, the window begins at 80, Kafka holds 50 to 99."""
LOG = Bounds(50, 100)
HOLE = Coverage(0, 90, [(20, 30)])


@pytest.mark.parametrize(
    ("after", "history", "known", "expected"),
    [
        (99, ALL, True, FromWindow()),
        (79, ALL, True, FromWindow()),
        (78, ALL, True, FromHistory(79)),
        (-1, ALL, True, FromHistory(79)),
        (-1, Coverage(0, 40), True, FromHistory(39)),
        (39, Coverage(0, 40), True, Missing(49, "retention")),
        (49, Coverage(0, 40), True, FromLog(79)),
        (60, None, True, FromLog(79)),
        (10, None, True, Missing(49, "retention")),
        (10, Coverage(60, 90), True, Missing(49, "retention")),
        (49, Coverage(60, 90), True, FromLog(59)),
        (10, HOLE, True, FromHistory(19)),
        (19, HOLE, True, Missing(29, "lost")),
        (25, HOLE, True, Missing(29, "lost")),
        (29, HOLE, True, FromHistory(79)),
        (55, Coverage(0, 90, [(50, 60)]), True, FromLog(79)),
        (40, Coverage(0, 60, [(30, 60)]), True, Missing(49, "lost")),
        (60, None, False, FromLog(79)),
        (10, None, False, NeedsHistory()),
        (10, ALL, False, NeedsHistory()),
        (99, None, False, FromWindow()),
    ],
)
def test_the_newest_source_that_holds_it_serves(
    after: int, history: Coverage | None, known: bool, expected: Step
) -> None:
    assert plan(after, 80, LOG, history, history_known=known) == expected


@pytest.mark.parametrize(
    ("after", "log", "history", "known", "expected"),
    [
        (79, None, None, False, FromWindow()),
        (-1, LOG, ALL, True, FromHistory(79)),
        (-1, None, ALL, True, FromHistory(79)),
        (60, LOG, Coverage(0, 40), True, NeedsLog()),
        (60, None, Coverage(0, 40), True, NeedsLog()),
        (39, None, Coverage(0, 40), True, NeedsLog()),
        (39, LOG, Coverage(0, 40), True, Missing(49, "retention")),
        (25, LOG, HOLE, True, Missing(29, "lost")),
        (55, LOG, Coverage(0, 90, [(50, 60)]), True, NeedsLog()),
        (10, LOG, Coverage(30, 90), True, Missing(29, "retention")),
        (10, None, Coverage(30, 90), True, NeedsLog()),
        (60, LOG, None, False, NeedsLog()),
        (10, LOG, None, False, NeedsHistory()),
    ],
)
def test_while_kafka_is_away_nothing_is_called_missing_that_it_may_hold(
    after: int, log: Bounds | None, history: Coverage | None, known: bool, expected: Step
) -> None:
    assert plan(after, 80, log, history, log_known=False, history_known=known) == expected


@pytest.mark.parametrize(
    ("log", "window", "history", "known", "expected"),
    [
        (Bounds(0, 10), 5, None, False, -1),
        (Bounds(0, 10), 5, None, True, -1),
        (Bounds(4, 10), 5, Coverage(0, 10), True, -1),
        (Bounds(4, 10), 5, Coverage(0, 10, [(0, 3)]), True, 2),
        (Bounds(4, 10), 5, None, True, 3),
        (Bounds(4, 10), 5, Coverage(7, 7), True, 3),
        (Bounds(4, 10), 5, None, False, NeedsHistory()),
        (None, 5, None, False, NeedsHistory()),
        (None, 5, Coverage(0, 5), True, -1),
        (None, 5, Coverage(2, 5), True, NeedsLog()),
        (None, 0, None, False, -1),
        (Bounds(0, 0), 0, None, False, -1),
    ],
)
def test_the_earliest_held(
    log: Bounds | None, window: int, history: Coverage | None, known: bool, expected: int | NeedsHistory | NeedsLog
) -> None:
    assert earliest(window, log, history, history_known=known) == expected
