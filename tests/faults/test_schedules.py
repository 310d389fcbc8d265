"""Random schedules of cuts, returns, starts and slow reading, small: nothing is lost, doubled or out of order."""

from random import Random

from tests.checker import Checker
from tests.faults.schedules import Plan, play
from tests.faults.wanderer import Wanderer
from tests.nodes import new_ground

PLAN = Plan(schedules=40, at_once=20, nodes=2, events_per_second=60, restart_every=3, actions=6)


async def test_whoever_comes_back_has_everything_once_and_in_order(kafka: str, postgres_url: str) -> None:
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    async with new_ground(kafka, postgres_url) as ground:
        tally = await play(ground, PLAN, seed)
    print(tally)
    assert not tally.wrong, tally.wrong[:5]
    assert not tally.tracebacks, tally.tracebacks[0]
    assert tally.counts["schedules"] == PLAN.schedules
    for what in ("kills", "returns", "fell_behind", "replayed events", "live events", "from Postgres", "begun by time"):
        assert tally.counts[what], f"no {what}: a run that is too tame shows nothing"
    assert tally.counts["node restarts"]
    assert tally.counts["log writer pauses"]

    # And would it have seen anything? An event less, and one twice.
    wanderer = tally.last
    assert wanderer is not None
    assert not _faults(tally.checker, wanderer)
    had = wanderer.follower.followed.got
    # Not just any: had all the same is what came after the end that counts, or may be kept from a task's channel.
    firsts = dict(reversed([*tally.checker.surely_owed(wanderer.follower.followed, wanderer.head)]))
    for channel, first in firsts.items():
        got = had[channel]
        at = got.index(first)
        got.pop(at)
        assert _faults(tally.checker, wanderer) == {"lost"}
        got[at:at] = [first, first]
        assert _faults(tally.checker, wanderer) == {"doubled"}
        got.pop(at)
    assert not _faults(tally.checker, wanderer)


def _faults(checker: Checker, wanderer: Wanderer) -> set[str]:
    """The kinds of what is wrong with what a wanderer had, over all its connections."""
    return set(+checker.check([], [wanderer.follower.followed], wanderer.head).faults)
