"""The page of offline messages passes over the floods without reading them: by the index made for it."""

import json
from typing import Any

import asyncpg
import pytest
from lastseen.channels import parse_channel
from lastseen.envelope import Event

from service.adapters.postgres.page_query import page_query
from tests.contract.conftest import HistoryUnderTest, RealHistory

FLOOD, MESSAGES = 3_000, 30


@pytest.mark.parametrize("copied", ["real"], indirect=True)
async def test_a_page_of_offline_messages_is_read_by_their_index(copied: HistoryUnderTest) -> None:
    assert isinstance(copied, RealHistory)
    for number in range(FLOOD):
        event = {"type": "task_output", "task_id": f"t{number % 7}", "user_id": "ann", "data": {"number": number}}
        copied.add(Event.model_validate(event), partition=0)
        if number % (FLOOD // MESSAGES) == 0:
            copied.add(Event.model_validate({"type": "user_notification", "user_id": "ann"}), partition=0)
    await copied.project()
    await copied.pool.execute("ANALYZE log")
    upto = FLOOD + MESSAGES - 1
    page = await copied.history.page(["user:ann"], {0: -1}, {0: upto}, 100, offline=True)
    assert [record.type for record in page.records] == ["user_notification"] * MESSAGES
    assert page.served == {0: upto}
    plan = await explained(copied.pool, 100, upto)
    (scan,) = [node for node in nodes_of(plan) if node["Node Type"].endswith("Scan") and node.get("Index Name")]
    definition = await copied.pool.fetchval(
        "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = $1::text::regclass", scan["Index Name"]
    )
    assert definition == "log_inbox", plan
    assert scan["Actual Rows"] == MESSAGES
    assert not scan.get("Rows Removed by Filter"), "no flood was looked at"


async def explained(pool: asyncpg.Pool, limit: int, upto: int) -> dict[str, Any]:
    query, ids = page_query([parse_channel("user:ann")], offline=True)
    today = await pool.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    text = await pool.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {query}",
        *(RealHistory.EPOCH, limit, [0], [-1], [upto], today, today),
        *ids,
    )
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes_of(child))]
