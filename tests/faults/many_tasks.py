"""Many tasks at once that write all the while, and one of their runners is killed: nothing acknowledged is lost.

`python -m tests.faults.many_tasks --tasks 50 --kilobytes 200 --seconds 30 --runners 2` runs it on servers of its own.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import asyncpg

from tests.faults import numbered_lines
from tests.faults.acknowledging_runner import acknowledged
from tests.faults.task_book import TaskBook, output_of
from tests.faults.workshop import PROJECTS, USERS, Workshop, own_workshop
from tests.integration.conftest import until_written
from tests.ledger import Ledger, check_ledger
from tests.runners import marked
from tests.waiting import until

LOST_WITHIN = 30.0
"""Seconds from the kill to the last `runner_lost`."""
_MORE = 20
"""Tasks that are started besides those planned, at most, until two runners have some."""
_PROGRAM = str(Path(numbered_lines.__file__).resolve())


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    tasks: int
    """At least: see `play`."""
    kilobytes: float
    """A second, of each."""
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second of a task."""
        return self.kilobytes * 1000

    @property
    def size(self) -> int:
        """Bytes that each task writes, where it comes to its end."""
        return round(self.rate * self.seconds)


@dataclass
class Outcome:
    """What was seen."""

    tasks: list[str]
    killed: str
    """The runner's name."""
    killed_at: float
    """Seconds since 1970."""
    gone_after: float
    """Seconds until no process of its tasks was left."""
    acknowledged: list[str]
    """Ids of the events that Kafka had acknowledged to the runners."""
    ledger: Ledger
    took: float
    """Seconds from the first start to the last end."""
    void: Counter[str]
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lost_after: float = 0.0
    """Seconds from the kill to the last `runner_lost`."""

    def __str__(self) -> str:
        counts, ledger = self.counts, self.ledger
        return "\n".join(
            [
                f"{len(self.tasks)} tasks: {counts['completed']} completed, {counts['lost']} lost with their runner, "
                f"{counts['other']} neither",
                f"{counts['bytes']} bytes of output in the log, each once: {counts['bytes completed']} of the "
                f"completed, all that they wrote; {counts['bytes lost']} of the lost, up to where each was cut; "
                f"in {counts['outputs']} events, {counts['bytes'] / self.took / 1e6:.1f} MB/s over {self.took:.1f} s",
                f"acknowledged to the runners: {len(self.acknowledged)} events, missing {counts['missing']}, "
                f"counted twice {counts['twice']}",
                f"processes of the killed runner's tasks gone after {self.gone_after:.1f} s, "
                f"the last of them runner_lost after {self.lost_after:.1f} s",
                f"ledger: {ledger.records} records in Kafka, {ledger.rows} rows, {ledger.void} void "
                f"({dict(self.void)}), {ledger.quarantined} quarantined, {ledger.lost} lost, {ledger.absent} absent",
                *(f"WRONG: {problem}" for problem in self.wrong),
            ]
        )


async def play(workshop: Workshop, plan: Plan) -> Outcome:
    """Play it; the busiest of the runners is killed. Raises AssertionError where it does not come to its end."""
    book, mark = workshop.book, f"many-{uuid4().hex[:8]}"
    tasks = [f"{mark}-{number:02}" for number in range(plan.tasks)]
    began = time.monotonic()
    await asyncio.gather(*(_start(workshop, plan, number, task) for number, task in enumerate(tasks)))
    await book.read_on()
    # The first runner to claim a task has it: now and then one is the first at all of them.
    while len(runners := Counter(_runner_of(book, task) for task in tasks)) < 2:
        assert len(tasks) < plan.tasks + _MORE, f"the runners don't share: {runners}"
        tasks.append(f"{mark}-{len(tasks):02}")
        await _start(workshop, plan, len(tasks), tasks[-1])
        await book.read_on()
    ((busiest, _),) = runners.most_common(1)
    doomed = next(runner for runner in workshop.runners if runner.name == busiest)
    workshop.runners.remove(doomed)
    doomed_tasks = [task for task in tasks if _runner_of(book, task) == doomed.name]
    await book.until(
        lambda: min(book.bytes[task] for task in doomed_tasks) > plan.size / 2,
        timeout=plan.seconds * 3 + 60,
        what="half of everything",
    )
    programs = len(marked(mark))
    killed_at = time.time()
    await doomed.end(signal.SIGKILL)
    await until(lambda: not _of(doomed_tasks, mark), timeout=LOST_WITHIN, what="its tasks' processes being gone")
    gone_after = time.time() - killed_at
    await book.until(
        lambda: all(book.end(task) for task in tasks), timeout=plan.seconds * 3 + 120, what="the ends of all tasks"
    )
    took = time.monotonic() - began
    told = acknowledged(workshop.acknowledged)
    sql = await asyncpg.connect(workshop.ground.database_url)
    try:
        await until_written(workshop.site.log, sql, timeout=300)
    finally:
        await sql.close()
    await book.read_on()
    ground, places, ids = workshop.ground, [place for place, _ in told], [id_ for _, id_ in told]
    ledger = await check_ledger(ground.kafka, ground.topic, ground.database_url, acknowledged=places)
    outcome = Outcome(tasks, doomed.name, killed_at, gone_after, ids, ledger, took, Counter(book.void))
    outcome.counts["programs at the kill"] = programs
    if left := marked(mark):
        outcome.wrong.append(f"processes are left: {left}")
    judge(book, plan, outcome)
    return outcome


def judge(book: TaskBook, plan: Plan, outcome: Outcome) -> None:
    """Compare what the log says with what the programs wrote and what the runners were told."""
    counts, wrong = outcome.counts, outcome.wrong
    missing = [id_ for id_ in outcome.acknowledged if id_ not in book.places]
    counts.update({"missing": len(missing), "twice": len(book.twice)})
    wrong += [f"{id_} was acknowledged, and does not count" for id_ in missing[:5]]
    wrong += [f"{id_} counts twice" for id_ in book.twice[:5]]
    for task in outcome.tasks:
        wrong += [f"{task}: {problem}" for problem in _judge_task(book, plan, outcome, task)]


def _judge_task(book: TaskBook, plan: Plan, outcome: Outcome, task: str) -> list[str]:
    counts, events = outcome.counts, book.events(task)
    end, last = book.end(task), events[-1]
    assert end is not None
    wrong = []
    if last["type"] != end.type:
        wrong.append(f"{last['type']} comes behind {end.type}")
    try:
        output = output_of(events, "stdout")
    except AssertionError as error:
        return [str(error)]
    whole = numbered_lines.content(task, plan.size)
    counts["outputs"] += sum(event["type"] == "task_output" for event in events)
    counts["bytes"] += len(output)
    if not whole.startswith(output):
        wrong.append("it is said to have written what it did not")
    if _runner_of(book, task) != outcome.killed:
        counts["completed" if end.type == "task_completed" else "other"] += 1
        counts["bytes completed"] += len(output)
        if (end.type, output) != ("task_completed", whole):
            wrong.append(f"{end.type} after {len(output)} of {len(whole)} bytes")
        return wrong
    counts["bytes lost"] += len(output)
    after = end.appended_at / 1000 - outcome.killed_at
    outcome.lost_after = max(outcome.lost_after, after)
    if (end.type, last["data"]) == ("task_failed", {"reason": "runner_lost"}) and after < LOST_WITHIN:
        counts["lost"] += 1
    else:
        counts["other"] += 1
        wrong.append(f"{end.type} with {last['data']}, {after:.1f} s after its runner was killed")
    return wrong


async def _start(workshop: Workshop, plan: Plan, number: int, task: str) -> None:
    node = workshop.nodes[number % len(workshop.nodes)]
    command = [sys.executable, "-S", _PROGRAM, task, str(plan.size), str(plan.rate)]
    user, project = USERS[number % len(USERS)], PROJECTS[number % len(PROJECTS)]
    await workshop.start(node, task, command, user=user, project=project)


def _runner_of(book: TaskBook, task: str) -> str:
    started: Mapping[str, str] = book.events(task)[0]["data"]
    return started["runner"]


def _of(tasks: list[str], mark: str) -> list[str]:
    """Those of the tasks whose programs go on."""
    going = marked(mark)
    return [task for task in tasks if going and marked(task)]


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--kilobytes", type=float, default=200, help="that each task writes a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--runners", type=int, default=2, help="one of them is killed")
    parser.add_argument("--nodes", type=int, default=2)
    given = parser.parse_args()
    plan = Plan(given.tasks, given.kilobytes, given.seconds)
    async with own_workshop(nodes=given.nodes, runners=given.runners) as workshop:
        outcome = await play(workshop, plan)
    print(f"{plan}, {given.runners} runners, {given.nodes} nodes", outcome, sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
