"""Input to one task, over lines that are cut and nodes that go away, sent again with its id: applied exactly once.

`python -m tests.faults.many_inputs --inputs 1000` runs it on servers of its own: several users type at the same time,
each his next line when the one before is known to be applied, to a program that counts what it reads.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import uuid4

from lastseen.commands import CommandName, decode

from service.domain.commands import State
from tests.command_runner import reading_commands
from tests.faults import counting_reader
from tests.faults.task_book import Message, output_of
from tests.faults.typist import Typist
from tests.faults.workshop import USERS, Workshop, own_workshop
from tests.nodes import Ground

_PROGRAM = str(Path(counting_reader.__file__).resolve())
_FINAL = {state.value for state in State} - {"accepted"}


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    inputs: int
    users: int
    """Who type at once."""
    restart_every: float
    """Seconds between two restarts of a node; the first is at once."""

    def share(self, user: int) -> int:
        """How many inputs are his."""
        return self.inputs // self.users + (user < self.inputs % self.users)


@dataclass
class Outcome:
    """What was seen."""

    task: str
    typists: list[Typist]
    appended: Counter[tuple[str, str]]
    """Records of the topic `commands`, by user and id."""
    restarts: Counter[str]
    seconds: float
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        sums = sum((typist.counts for typist in self.typists), Counter[str]())
        answers = sorted(what for what in sums if what.startswith("answered"))

        def of(counts: Counter[str], *names: str) -> str:
            return ", ".join(f"{name} {counts[name]}" for name in names)

        return "\n".join(
            [
                f"{of(self.counts, 'inputs', 'applied', 'lines read by the program', 'out of order')}; "
                f"{self.seconds:.0f} s",
                of(sums, "sent", "sent over HTTP", "sent again", "connections", "cuts", *answers),
                f"nodes ended: {dict(self.restarts)}",
                f"commands in Kafka {self.appended.total()}, of them sent before {self.counts['appended again']}; "
                + of(self.counts, "receipts", "final receipts", "answered anew", "expired"),
                *(f"WRONG: {problem}" for problem in self.wrong),
            ]
        )


async def play(workshop: Workshop, plan: Plan, seed: int) -> Outcome:
    """Play it. Raises AssertionError where it does not come to its end."""
    random, task, began = Random(seed), f"inputs-{uuid4().hex[:8]}", time.monotonic()
    await workshop.start(workshop.nodes[0], task, [sys.executable, "-S", _PROGRAM], input=True)
    typists = [Typist(user, task, workshop, Random(random.random())) for user in USERS[: plan.users]]
    over, restarts = asyncio.Event(), Counter[str]()
    async with asyncio.TaskGroup() as doing:
        doing.create_task(_restart_nodes(workshop, plan, random, over, restarts))
        async with asyncio.TaskGroup() as typing:
            for number, typist in enumerate(typists):
                typing.create_task(typist.type(plan.share(number)))
        over.set()
    seconds = time.monotonic() - began
    # Whatever else has been appended for the task lies before that, and has been looked at when it is applied.
    cancelled = await workshop.post(workshop.nodes[0], f"/{task}/cancel", {"id": "end"})
    assert cancelled.status_code == 200, cancelled.text
    await workshop.book.until(lambda: workshop.book.end(task) is not None, timeout=60, what="the task's end")
    outcome = Outcome(task, typists, await _appended(workshop.ground, task), restarts, seconds)
    judge(workshop.book.events(task), plan, outcome)
    return outcome


def judge(events: Sequence[Message], plan: Plan, outcome: Outcome) -> None:
    """Compare what the program has read, and what the receipts say, with what was typed."""
    counts, wrong = outcome.counts, outcome.wrong
    wrong += [problem for typist in outcome.typists for problem in typist.wrong]
    read = [line.split() for line in output_of(events, "stdout").decode().splitlines()]
    counts.update({"inputs": plan.inputs, "lines read by the program": len(read)})
    if [line[0] for line in read] != [str(count) for count in range(1, plan.inputs + 1)]:
        wrong.append(f"the program has read {len(read)} lines, not {plan.inputs}")
    for number, typist in enumerate(outcome.typists):
        his = [line[2] for line in read if line[1] == typist.user]
        if his != [str(line) for line in range(plan.share(number))]:
            counts["out of order"] += sum(line != str(at) for at, line in enumerate(his))
            wrong.append(f"of {typist.user} it has read {his[:20]} … {len(his)}, not 0 to {plan.share(number) - 1}")
    _judge_receipts(events, plan, outcome)


def _judge_receipts(events: Sequence[Message], plan: Plan, outcome: Outcome) -> None:
    counts, wrong = outcome.counts, outcome.wrong
    said: dict[tuple[str, str], list[str]] = {}
    for event in events:
        if event["type"] == "task_command" and event["data"]["command"] == CommandName.INPUT:
            said.setdefault((event["data"]["by"], event["data"]["command_id"]), []).append(event["data"]["state"])
    final = {key: [state for state in states if state in _FINAL] for key, states in said.items()}
    told = {
        (typist.user, id_): state
        for typist in outcome.typists
        for state, ids in (("applied", typist.applied), ("expired", typist.expired))
        for id_ in ids
    }
    for key, state in told.items():
        if {*final.get(key, [])} != {state} or said[key][-1] != state:
            wrong.append(f"{key} was answered with {state}, and its receipts are {said.get(key)}")
    wrong += [f"{key}: {states}, and nobody has heard of it" for key, states in said.items() if key not in told]
    applied = sum("applied" in states for states in final.values())
    if applied != plan.inputs:
        wrong.append(f"{applied} are said to be applied, not {plan.inputs}")
    counts.update(
        {
            "applied": applied,
            "expired": sum("expired" in states for states in final.values()),
            "receipts": sum(map(len, said.values())),
            "final receipts": sum(map(len, final.values())),
            "answered anew": sum(max(0, len(states) - 1) for states in final.values()),
            "appended again": sum(times - 1 for times in outcome.appended.values()),
        }
    )


async def _restart_nodes(
    workshop: Workshop, plan: Plan, random: Random, over: asyncio.Event, restarts: Counter[str]
) -> None:
    """One after the other, so that there always is one."""
    while not over.is_set():
        node = random.choice(workshop.nodes)
        how = random.choice([signal.SIGKILL, signal.SIGTERM])
        await node.stop(how)
        restarts[how.name] += 1
        await node.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.restart_every):
                await over.wait()


async def _appended(ground: Ground, task: str) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    async with reading_commands(ground) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                commands = [decode(record.value, record.headers) for record in records]
                found.update(
                    (command.user_id, command.id)
                    for command in commands
                    if command.task_id == task and command.command is CommandName.INPUT
                )
    return found


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--users", type=int, default=len(USERS), choices=range(1, len(USERS) + 1))
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--restart-every", type=float, default=2, help="seconds between two restarts of a node")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    plan = Plan(given.inputs, given.users, given.restart_every)
    print(f"seed {given.seed}, {plan}", flush=True)
    async with own_workshop(nodes=given.nodes, runners=1) as workshop:
        outcome = await play(workshop, plan, given.seed)
    print(outcome)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
