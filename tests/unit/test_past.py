"""Where a time lies in the log, whoever can tell."""

from collections.abc import Mapping

import pytest

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.errors import LogUnavailable
from service.node.past import offsets_at
from service.node.sources import Sources
from service.ports import Bounds
from tests.raw import raw_of, task_event

READ = {0: 10}


class ForgetfulLog(MemoryLog):
    """Its retention passes once it has said what it holds, where that is due."""

    is_due = False

    async def bounds(self) -> Mapping[int, Bounds]:
        bounds = await super().bounds()
        if self.is_due:
            self.drop_below(0, 5)
        return bounds


async def filled(log: MemoryLog) -> MemoryHistory:
    """Ten records of one time, all copied."""
    for offset in range(10):
        raw = raw_of(0, offset, task_event())
        log.append_raw(0, raw.value, [(name, value) for name, value in raw.headers if value is not None])
    history = MemoryHistory(log)
    await history.project()
    return history


async def test_what_kafka_drops_while_it_is_asked_is_found_in_postgres() -> None:
    log = ForgetfulLog(1, lambda: 1_000)
    sources = Sources(log, await filled(log), 4)
    log.is_due = True
    assert await offsets_at(sources, 1_000, READ) == {0: 0}


@pytest.mark.parametrize("known", [True, False])
async def test_while_kafka_is_away_postgres_tells_only_where_it_holds_as_much(known: bool) -> None:
    log = MemoryLog(1, lambda: 1_000)
    history = await filled(log)
    sources = Sources(log, history, 4)
    history.drop_below(0, 5)
    if known:
        log.drop_below(0, 7)
    await sources.bounds()
    log.available = False
    if known:
        assert await offsets_at(sources, 1_000, READ) == {0: 5}
    else:
        with pytest.raises(LogUnavailable, match="Kafka may hold more"):
            await offsets_at(sources, 1_000, READ)
