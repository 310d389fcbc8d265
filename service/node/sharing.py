"""Asking once where many want to know the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Outcome(NamedTuple, Generic[T]):
    """What a question led to."""

    number: int
    answer: T | None
    error: Exception | None

    def get(self) -> T:
        if self.error is not None:
            raise self.error
        return self.answer  # type: ignore[return-value] # of the type that was asked for, None included


async def _ask(
    question: Callable[[], Awaitable[T]], number: int, told: "asyncio.Future[_Outcome[T] | None]"
) -> _Outcome[T]:
    """Ask in the name of all who wait for `told`; they get None where it is cancelled."""
    try:
        outcome = _Outcome(number, await question(), None)
    except Exception as error:  # noqa: BLE001 - raised to each of those who wait
        outcome = _Outcome(number, None, error)
    except BaseException:
        told.set_result(None)
        raise
    told.set_result(outcome)
    return outcome


class SingleFlight(Generic[K, T]):
    """Whoever asks what is being asked already gets that answer. For what does not change while it is asked."""

    def __init__(self) -> None:
        self._asking: dict[K, asyncio.Future[_Outcome[T] | None]] = {}

    async def ask(self, key: K, question: Callable[[], Awaitable[T]]) -> T:
        """The answer, or what it raises."""
        while (asking := self._asking.get(key)) is not None:
            # Shielded: who stops waiting must not take the answer from the others.
            outcome: _Outcome[T] | None = await asyncio.shield(asking)
            if outcome is not None:
                return outcome.get()
        told: asyncio.Future[_Outcome[T] | None] = asyncio.get_running_loop().create_future()
        self._asking[key] = told
        try:
            return (await _ask(question, 0, told)).get()
        finally:
            del self._asking[key]


class FreshAnswer(Generic[T]):
    """One question at a time; everybody gets an answer to one that was asked after he came.

    For what changes: an answer to a question from before would be older than what he knows already.
    """

    def __init__(self, question: Callable[[], Awaitable[T]], tasks: asyncio.TaskGroup | None = None) -> None:
        """With `tasks`, questions are asked in one of them: who stops waiting leaves it to be answered."""
        self._question = question
        self._tasks = tasks
        self._number = 0
        self._asking: asyncio.Future[_Outcome[T] | None] | None = None
        self._task: asyncio.Task[_Outcome[T]] | None = None

    async def ask(self) -> T:
        """The answer, or what it raises."""
        wanted = self._number + 1
        while True:
            asking = self._asking
            if asking is None:
                self._number += 1
                asking = self._asking = asyncio.get_running_loop().create_future()
                running = self._run(self._number, asking)
                if self._tasks is None:
                    return (await running).get()
                self._task = self._tasks.create_task(running)
            outcome: _Outcome[T] | None = await asyncio.shield(asking)
            if outcome is not None and outcome.number >= wanted:
                return outcome.get()

    def cancel(self) -> None:
        """End the question that is being asked in a task, if one is."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, number: int, told: "asyncio.Future[_Outcome[T] | None]") -> _Outcome[T]:
        try:
            return await _ask(self._question, number, told)
        finally:
            self._asking = self._task = None


class PatientQuestion(Generic[T]):
    """A FreshAnswer that is waited for so many `seconds`, and `away_seconds` while the last one has not come in time.

    Without `tasks` it is waited for to the end.
    """

    def __init__(
        self,
        question: Callable[[], Awaitable[T]],
        seconds: float,
        away_seconds: float,
        tasks: asyncio.TaskGroup | None = None,
    ) -> None:
        self._fresh = FreshAnswer(self._answered, tasks)
        self._question = question
        self._seconds = seconds if tasks is not None else None
        self._away_seconds = away_seconds if tasks is not None else None
        self._is_late = False

    async def ask(self) -> T:
        """The answer, or what it raises. Raises TimeoutError where it does not come in time."""
        try:
            async with asyncio.timeout(self._away_seconds if self._is_late else self._seconds):
                return await self._fresh.ask()
        except TimeoutError:
            self._is_late = True
            raise

    def cancel(self) -> None:
        """End the question that is being asked."""
        self._fresh.cancel()

    async def _answered(self) -> T:
        """Whatever comes, and however late: from then on the next is waited for again."""
        answer = await self._question()
        self._is_late = False
        return answer
