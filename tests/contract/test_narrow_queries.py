"""Pages that pass over floods without reading them: by the indexes made for these."""

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from lastseen.channels import parse_channel
from lastseen.envelope import Event

from service.adapters.postgres.page_back_query import back_query
from service.adapters.postgres.page_query import page_query
from tests.contract.conftest import HistoryUnderTest, RealHistory

FLOOD, MESSAGES = 3_000, 30


@pytest.mark.parametrize("copied", ["real"], indirect=True)
async def test_a_page_of_offline_messages_is_read_by_their_index(copied: HistoryUnderTest) -> None:
    pool = await flooded(copied, {"type": "user_notification", "user_id": "ann"})
    upto = FLOOD + MESSAGES - 1
    page = await copied.history.page(["user:ann"], {0: -1}, {0: upto}, 100, offline=True)
    assert [record.type for record in page.records] == ["user_notification"] * MESSAGES
    assert page.served == {0: upto}
    query, ids = page_query([parse_channel("user:ann")], offline=True)
    assert await scan_of(pool, query, [0], [-1], [upto], *ids) == ("log_inbox", MESSAGES, 0)


@pytest.mark.parametrize("copied", ["real"], indirect=True)
@pytest.mark.parametrize(
    ("rare", "channel", "types", "index"),
    [
        (
            {"type": "task_progress_update", "task_id": "t", "project_id": "p", "user_id": "ann"},
            "task:t",
            ["task_failed", "task_progress_update"],
            "log_task_state",
        ),
        ({"type": "task_screen", "task_id": "t", "project_id": "p"}, "task:t", ["task_screen"], "log_task_state"),
        (
            {"type": "project_config_changed", "project_id": "p"},
            "project:p",
            ["project_config_changed", "project_created", "project_updated"],
            "log_project_state",
        ),
    ],
)
async def test_what_states_are_made_of_is_read_by_its_index(
    copied: HistoryUnderTest, rare: dict[str, Any], channel: str, types: Sequence[str], index: str
) -> None:
    pool = await flooded(copied, rare)
    upto = FLOOD + MESSAGES - 1
    page = await copied.history.page_back([channel], {0: upto}, {0: 0}, 100, types)
    assert [record.type for record in page.records] == [rare["type"]] * MESSAGES
    assert page.served == {0: 0}
    query, ids = back_query([parse_channel(channel)], types)
    assert await scan_of(pool, query, [0], [upto], [0], 10_000, list(types), *ids) == (index, MESSAGES, 0)


async def flooded(copied: HistoryUnderTest, rare: dict[str, Any]) -> asyncpg.Pool:
    """A log of the output of a task, with MESSAGES events of another kind among it."""
    assert isinstance(copied, RealHistory)
    for number in range(FLOOD):
        event = {"type": "task_output", "task_id": "t", "project_id": "p", "user_id": "ann", "data": {"number": number}}
        copied.add(Event.model_validate(event), partition=0)
        if number % (FLOOD // MESSAGES) == 0:
            copied.add(Event.model_validate(rare), partition=0)
    await copied.project()
    await copied.pool.execute("ANALYZE log")
    return copied.pool


async def scan_of(
    pool: asyncpg.Pool, query: str, partitions: list[int], one: list[int], other: list[int], *rest: object
) -> tuple[str, int, int]:
    """Which index a query goes by, the rows that it gives, and those that were looked at for nothing."""
    today = await pool.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    text = await pool.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {query}",
        *(RealHistory.EPOCH, 100, partitions, one, other, today, today),
        *rest,
    )
    (scan,) = [
        node
        for node in nodes_of(json.loads(text)[0]["Plan"])
        if node["Node Type"].endswith("Scan") and node.get("Index Name")
    ]
    index = await pool.fetchval(
        "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = $1::text::regclass", scan["Index Name"]
    )
    return index, scan["Actual Rows"], scan.get("Rows Removed by Filter", 0)


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes_of(child))]
