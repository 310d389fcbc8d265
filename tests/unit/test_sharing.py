"""One question for many who ask at once, and what becomes of it when one of them leaves."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from service.domain.errors import LogUnavailable
from service.node.sharing import FreshAnswer, PatientQuestion, SingleFlight


class Server:
    """Answers when it is let, with how often it has been asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self._let = asyncio.Semaphore(0)

    async def question(self) -> int:
        self.asked += 1
        number = self.asked
        await self._let.acquire()
        if self.fails:
            raise LogUnavailable("away")
        return number

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._let.release()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def asking(flight: SingleFlight[str, int], server: Server, key: str = "k") -> "asyncio.Task[int]":
    return asyncio.create_task(flight.ask(key, server.question))


async def test_the_same_is_asked_once_and_another_beside_it() -> None:
    flight, server = SingleFlight[str, int](), Server()
    same = [asking(flight, server) for _ in range(5)]
    other = asking(flight, server, "other")
    await turns()
    assert server.asked == 2
    server.let(2)
    assert await asyncio.gather(*same) == [1] * 5
    assert await other == 2
    server.let()
    assert await asking(flight, server) == 3, "what has been answered is asked anew"


async def test_an_error_is_everybody_s() -> None:
    flight, server = SingleFlight[str, int](), Server()
    server.fails = True
    tasks = [asking(flight, server) for _ in range(3)]
    await turns()
    server.let()
    assert [type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)] == [LogUnavailable] * 3


@pytest.mark.parametrize("leaves", [0, 1])
async def test_who_leaves_takes_the_answer_from_nobody(leaves: int) -> None:
    flight, server = SingleFlight[str, int](), Server()
    tasks = [asking(flight, server) for _ in range(3)]
    await turns()
    tasks[leaves].cancel()
    await turns()
    server.let(2)
    kept = [task for task in tasks if task is not tasks[leaves]]
    assert set(await asyncio.gather(*kept)) == {2 if leaves == 0 else 1}, "where the one who asked left, another asks"
    with suppress(asyncio.CancelledError):
        await tasks[leaves]
    assert tasks[leaves].cancelled()


async def test_a_fresh_answer_is_never_to_a_question_of_before() -> None:
    server = Server()
    fresh = FreshAnswer(server.question)
    ask: Callable[[], asyncio.Task[int]] = lambda: asyncio.create_task(fresh.ask())  # noqa: E731
    first = ask()
    await turns()
    late = [ask() for _ in range(4)]
    await turns()
    assert server.asked == 1, "one at a time"
    server.let()
    assert await first == 1
    await turns()
    assert server.asked == 2
    later = ask()
    await turns()
    server.let(2)
    assert await asyncio.gather(*late) == [2] * 4, "one question for all who came meanwhile"
    assert await later == 3


async def test_where_the_one_who_asks_leaves_those_who_wait_ask_themselves() -> None:
    server = Server()
    fresh = FreshAnswer(server.question)
    first, second, third = (asyncio.create_task(fresh.ask()) for _ in range(3))
    await turns()
    first.cancel()
    await turns()
    server.let()
    assert list(await asyncio.gather(second, third)) == [2, 2]
    assert first.cancelled()


async def test_one_that_hangs_is_waited_for_a_moment_only_until_an_answer_has_come() -> None:
    server = Server()
    async with asyncio.TaskGroup() as tasks:
        patient = PatientQuestion(server.question, 0.05, 0.001, tasks)
        with pytest.raises(TimeoutError):
            await patient.ask()
        late = [asyncio.create_task(patient.ask()) for _ in range(3)]
        assert [type(e) for e in await asyncio.gather(*late, return_exceptions=True)] == [TimeoutError] * 3
        assert server.asked == 1, "it is being asked all the while"
        server.let()
        await turns()
        asking = asyncio.create_task(patient.ask())
        await turns()
        server.let()
        assert await asking == 2, "that it answered late is an answer"
        hanging = asyncio.create_task(patient.ask())
        await turns()
        patient.cancel()
        await turns()
        hanging.cancel()
        patient.cancel()


async def test_what_fails_in_a_task_fails_where_it_is_waited_for() -> None:
    async def fail() -> int:
        raise RuntimeError("a fault")

    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(RuntimeError, match="a fault"):
            await PatientQuestion(fail, 5.0, 5.0, tasks).ask()
