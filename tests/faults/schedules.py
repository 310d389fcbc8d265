"""Random schedules of cuts, returns, starts and slow reading against real nodes under load: nothing is lost or doubled.

`python -m tests.faults.schedules --schedules 1000` runs them on servers of its own and prints what was counted.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.checker import Checker
from tests.faults.many_nodes import own_ground
from tests.faults.site import Site, open_site
from tests.faults.wanderer import Claim, Wanderer
from tests.nodes import Ground


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    schedules: int
    at_once: int
    nodes: int
    events_per_second: float
    restart_every: float
    """Seconds between two restarts of a node."""
    actions: int = 12
    """Of a schedule, at most."""


@dataclass
class Tally:
    """What was counted over all schedules."""

    checker: Checker
    counts: Counter[str] = field(default_factory=Counter)
    last: Wanderer | None = None
    """The one that was judged last, of those who had to have something."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Errors by code, and ends of connections by code and reason; 1006 is mostly a client's own doing."""
    wrong: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        def of(*names: str) -> str:
            return ", ".join(f"{name} {self.counts[name]}" for name in names)

        return "\n".join(
            [
                of("schedules", "connections", "kills", "returns", "fell_behind", "slow"),
                of("replayed events", "live events", "from Postgres", "from Kafka"),
                of("begun by time", "begun by number", "begun by number, short"),
                of("records", "node restarts", "log writer pauses"),
                ", ".join(f"{what} {times}" for what, times in self.refusals.most_common()),
                of("gaps", "lost", "doubled", "out of order", "other", "stuck"),
            ]
        )


async def play(ground: Ground, plan: Plan, seed: int) -> Tally:
    """Go through all schedules, `at_once` at a time."""
    random = Random(seed)
    numbers = iter(range(plan.schedules))
    async with open_site(
        ground,
        Random(random.random()),
        nodes=plan.nodes,
        events_per_second=plan.events_per_second,
        restart_every=plan.restart_every,
    ) as site:
        tally = Tally(site.checker)
        seeds = [random.random() for _ in range(plan.schedules)]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(plan.at_once):
                tasks.create_task(_go_through(site, plan, numbers, seeds, tally))
        logs = [node.said for node in site.nodes]
    tally.tracebacks = [log[max(0, log.index("Traceback") - 300) :][:5000] for log in logs if "Traceback" in log]
    tally.counts["records"] = site.checker.records
    tally.counts["node restarts"] = site.restarts.total()
    tally.counts["log writer pauses"] = site.pauses
    return tally


async def _go_through(site: Site, plan: Plan, numbers: Iterator[int], seeds: list[float], tally: Tally) -> None:
    for number in numbers:
        wanderer = Wanderer(number, site, Random(seeds[number]), plan.actions)
        await wanderer.run()
        await _judge(site, wanderer, tally)
        if number % 50 == 49:
            print(f"{number + 1} schedules begun\n{tally}\n", file=sys.stderr)


async def _judge(site: Site, wanderer: Wanderer, tally: Tally) -> None:
    head = wanderer.head or await site.heads()
    # Everything that it has heard, too, which may lie behind that.
    await site.read_to(await site.heads())
    follower, transcripts = wanderer.follower, wanderer.transcripts
    if any(site.checker.surely_owed(follower.followed, wanderer.head)):
        tally.last = wanderer
    verdict = site.checker.check(transcripts, [follower.followed, *follower.ended], head)
    since = [claim for claim in wanderer.claims if claim.kind == "since"]
    claims = [problem for claim in since if (problem := _judge_since(site.checker, claim)) is not None]
    tally.counts["begun by number, short"] += sum(
        _is_short(site.checker, claim) for claim in wanderer.claims if claim.kind == "last"
    )
    wrong = [f"schedule {wanderer.number}: {one}" for one in (*verdict.wrong, *claims, *wanderer.wrong)]
    tally.wrong += wrong
    for problem in wrong[:5]:
        print(f"WRONG: {problem}", file=sys.stderr)
    tally.counts += wanderer.counts
    tally.counts.update(verdict.faults)
    tally.counts["other"] += len(claims)
    tally.counts["schedules"] += 1
    tally.counts["connections"] += len(transcripts)
    tally.counts["returns"] += max(0, len(transcripts) - 1)
    for kind, name in (("since", "begun by time"), ("last", "begun by number")):
        tally.counts[name] += sum(claim.kind == kind for claim in wanderer.claims)
    for ours, theirs in (("live events", "live"), ("replayed events", "replayed"), ("gaps", "gap")):
        tally.counts[ours] += verdict.seen[theirs]
    tally.counts["fell_behind"] += verdict.seen["fell_behind"]
    tally.refusals.update({what: n for what, n in verdict.seen.items() if what.startswith(("error ", "10", "44"))})


def _judge_since(checker: Checker, claim: Claim) -> str | None:
    """What is wrong about where a channel began by time."""
    right = checker.before(claim.value)
    if claim.position.offsets == right:
        return None
    return f"{claim.channel} since {claim.value} began at {claim.position}, not {right}"


def _is_short(checker: Checker, claim: Claim) -> bool:
    """Whether a channel began behind fewer of its last events than were asked for.

    Where looking for them takes too long, a node begins with those that it has found by then.
    """
    upto = checker.cut_at(claim.at_ms)
    owed, held = (
        sum(len(checker.oracle.owed(claim.channel, p, after.get(p, -1), cut.get(p, 0) - 1)) for p in upto)
        for after, cut in ((claim.position.offsets, upto), ({}, claim.held))
    )
    return owed < min(claim.value, held)


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--events", type=float, default=150, help="published a second")
    parser.add_argument("--restart-every", type=float, default=10, help="seconds between two restarts of a node")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    plan = Plan(given.schedules, given.at_once, given.nodes, given.events, given.restart_every)
    print(f"seed {given.seed}, {plan}", flush=True)
    async with own_ground(partitions=4) as ground:
        tally = await play(ground, plan, given.seed)
    print(tally)
    for problem in tally.wrong[:40]:
        print(f"WRONG: {problem}")
    print(*tally.tracebacks, sep="\n")
    print(f"seed {given.seed}")
    return 1 if tally.wrong or tally.tracebacks else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
