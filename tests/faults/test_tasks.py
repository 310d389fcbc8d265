"""Tasks that are watched, answered and stopped from anywhere, small: see the modules that each test plays."""

from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest

from tests.faults import many_inputs, many_tasks, watched_program
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


async def test_two_who_watch_and_type_see_the_same_and_what_the_program_shows(workshop: Workshop) -> None:
    plan = watched_program.Plan(rounds=12, kills=2, cancelled_by="command")
    outcome = await watched_program.play(workshop, plan)
    print(outcome)
    assert not outcome.wrong, outcome.wrong[:5]
    counts = outcome.counts
    assert counts["kills"] == 2
    for what in ("typed by the page", "typed over HTTP", "typed by the command", "typed meanwhile", "screens told"):
        assert counts[what], f"no {what}: a run that is too tame shows nothing"

    # And would it have seen anything? An event less, two in another order, and a screen with another letter.
    last = [at for at, event in enumerate(outcome.page) if event["type"] == "task_output"][-1]
    taken = outcome.page.pop(last)
    assert _differing(outcome)
    outcome.page.insert(last - 1, taken)
    assert _differing(outcome)
    outcome.page.insert(last, outcome.page.pop(last - 1))
    assert not _differing(outcome)
    screen = watched_program.folded(outcome.terminal)
    assert watched_program.same_screen(screen, outcome.recorded)
    assert not watched_program.same_screen(screen, outcome.recorded + b"x")


def _differing(outcome: watched_program.Outcome) -> list[str]:
    outcome.wrong.clear()
    watched_program.judge(outcome)
    return list(outcome.wrong)


async def test_input_that_is_sent_again_is_applied_once(workshop: Workshop) -> None:
    plan = many_inputs.Plan(inputs=100, users=4, restart_every=1)
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    outcome = await many_inputs.play(workshop, plan, seed)
    print(outcome)
    assert not outcome.wrong, outcome.wrong[:5]
    assert outcome.counts["applied"] == outcome.counts["lines read by the program"] == plan.inputs
    sent = sum((typist.counts for typist in outcome.typists), Counter[str]())
    for what in ("cuts", "sent again", "sent over HTTP", "answered applied"):
        assert sent[what], f"no {what}: a run that is too tame shows nothing"
    assert outcome.restarts
    assert outcome.counts["appended again"], "what was sent again was all recognised by nodes: the runner was not asked"

    # And would it have seen anything? A line that was read twice, and one receipt that says something else.
    events = workshop.book.events(outcome.task)
    (output,) = [event for event in events if event["type"] == "task_output"][:1]
    receipt = next(event for event in reversed(events) if event["data"].get("command") == "task_input")
    output["data"]["text"] += output["data"]["text"]
    output["data"]["bytes"] *= 2
    for event in events:
        if event["type"] == "task_output" and event is not output:
            event["data"]["offset"] += output["data"]["bytes"] // 2
    many_inputs.judge(events, plan, outcome)
    assert outcome.wrong
    outcome.wrong.clear()
    receipt["data"]["state"] = "expired"
    many_inputs.judge(events, plan, outcome)
    assert any("its receipts are" in problem for problem in outcome.wrong)


async def test_what_a_killed_runner_was_acknowledged_is_there_and_its_tasks_end_as_lost(workshop: Workshop) -> None:
    plan = many_tasks.Plan(tasks=8, kilobytes=50, seconds=5)
    outcome = await many_tasks.play(workshop, plan)
    print(outcome)
    assert not outcome.wrong, outcome.wrong[:5]
    counts = outcome.counts
    assert counts["completed"] + counts["lost"] == len(outcome.tasks)
    assert counts["completed"]
    assert counts["lost"]
    assert counts["programs at the kill"] == len(outcome.tasks)
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
