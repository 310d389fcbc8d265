"""Who gets a turn when several wait."""

import asyncio

from service.node.fairness import FairTurns


class Crowd:
    """Those who take turns, in the order in which they got them; each holds its own until it is let go."""

    def __init__(self, at_once: int) -> None:
        self.turns = FairTurns(at_once)
        self.order: list[str] = []
        self._ends: list[asyncio.Event] = []

    def come(self, who: str) -> "asyncio.Task[None]":
        return asyncio.create_task(self._hold(who))

    async def _hold(self, who: str) -> None:
        async with self.turns.turn(who):
            self.order.append(who)
            end = asyncio.Event()
            self._ends.append(end)
            await end.wait()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end_one(self) -> None:
        self._ends.pop(0).set()
        await self.settle()


async def test_one_who_wants_much_gets_no_more_than_the_others() -> None:
    crowd = Crowd(2)
    tasks = [crowd.come(who) for who in ["much"] * 6 + ["ann", "bob"]]
    await crowd.settle()
    assert crowd.order == ["much", "much"], "no more than may at once"
    for _ in range(len(tasks)):
        await crowd.end_one()
    assert crowd.order == ["much", "much", "much", "ann", "bob", "much", "much", "much"]
    await asyncio.gather(*tasks)
    assert crowd.turns._free == 2
    assert not crowd.turns._waiting


async def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    crowd = Crowd(1)
    holds, left, given, last = (crowd.come(who) for who in ["a", "b", "c", "d"])
    await crowd.settle()
    left.cancel()
    await crowd.settle()
    crowd._ends.pop(0).set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given.cancel()  # it has just been given its turn, and may not have begun it yet
    await crowd.settle()
    assert crowd.order[-1] == "d"
    for end in crowd._ends:
        end.set()
    await asyncio.gather(holds, left, given, last, return_exceptions=True)
    assert crowd.turns._free == 1


async def test_a_turn_that_ends_as_the_next_stops_waiting_goes_to_the_one_behind() -> None:
    crowd = Crowd(1)
    holds, left, of_the_same, last = (crowd.come(who) for who in ["a", "b", "b", "c"])
    await crowd.settle()
    crowd._ends.pop(0).set()
    left.cancel()  # in the same step: it has not run yet when the turn is given
    await crowd.settle()
    assert crowd.order == ["a", "b"], "the turn goes on, to the one of the same name"
    await crowd.end_one()
    of_the_same.cancel()
    await crowd.end_one()
    assert crowd.order == ["a", "b", "c"]
    ended = await asyncio.gather(holds, left, of_the_same, last, return_exceptions=True)
    assert [type(one) for one in ended] == [type(None), asyncio.CancelledError, type(None), type(None)]
    assert crowd.turns._free == 1
    assert not crowd.turns._waiting


async def test_a_turn_is_free_again_where_all_who_wait_have_just_stopped() -> None:
    crowd = Crowd(1)
    tasks = [crowd.come(who) for who in ["a", "b", "c"]]
    await crowd.settle()
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 3
    assert crowd.turns._free == 1
    assert not crowd.turns._waiting
