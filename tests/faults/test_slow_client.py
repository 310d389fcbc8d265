"""Clients that read next to nothing of a busy channel, small: they cost little, and nobody misses anything."""

from tests.faults.slow_client import Plan, play
from tests.nodes import new_ground

MIB = 2**20
PLAN = Plan(seconds=4, megabytes_a_second=3, slow=10, to_the_end=2, event_bytes=8192, window_bytes=2 * MIB)


async def test_a_slow_client_costs_little_and_ends_with_everything_once(kafka: str, postgres_url: str) -> None:
    async with new_ground(kafka, postgres_url) as ground:
        outcome = await play(ground, PLAN)
    print(outcome.report(PLAN))
    assert not outcome.wrong, outcome.wrong[:5]
    assert outcome.fell_behind == PLAN.slow
    assert outcome.slowly.buffered <= PLAN.slow * MIB
    # A process grows and shrinks by some by itself; what the ten were owed is many times as much.
    assert outcome.slowly.resident - outcome.before.resident <= (PLAN.slow + 16) * MIB
