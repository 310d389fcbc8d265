"""Tasks that are watched, answered and stopped from anywhere, small: see the modules that each test plays."""

from collections.abc import AsyncIterator

import pytest

from tests.faults import many_tasks
from tests.faults.workshop import Workshop, open_workshop
from tests.nodes import new_ground


@pytest.fixture(scope="module")
async def workshop(kafka: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    async with (
        new_ground(kafka, postgres_url) as ground,
        open_workshop(ground, folder, nodes=2, runners=2, lease_seconds=3) as workshop,
    ):
        yield workshop


async def test_what_a_killed_runner_was_acknowledged_is_there_and_its_tasks_end_as_lost(workshop: Workshop) -> None:
    plan = many_tasks.Plan(tasks=8, kilobytes=50, seconds=5)
    outcome = await many_tasks.play(workshop, plan)
    print(outcome)
    assert not outcome.wrong, outcome.wrong[:5]
    counts = outcome.counts
    assert counts["completed"] + counts["lost"] == plan.tasks
    assert counts["completed"]
    assert counts["lost"]
    assert counts["programs at the kill"] == plan.tasks
    assert counts["bytes lost"] < plan.size * counts["lost"], "it was killed in the middle"

    # And would it have seen anything? A piece of output less, and one twice.
    records = workshop.book.records[outcome.tasks[0]]
    at = [number for number, record in enumerate(records) if record.type == "task_output"][2]
    taken = records.pop(at)
    assert _problems(workshop, plan, outcome)
    records[at:at] = [taken, taken]
    assert _problems(workshop, plan, outcome)
    records.pop(at)
    assert not _problems(workshop, plan, outcome)
    outcome.acknowledged.append("never there")
    assert _problems(workshop, plan, outcome) == ["never there was acknowledged, and does not count"]


def _problems(workshop: Workshop, plan: many_tasks.Plan, outcome: many_tasks.Outcome) -> list[str]:
    outcome.wrong.clear()
    many_tasks.judge(workshop.book, plan, outcome)
    return list(outcome.wrong)
