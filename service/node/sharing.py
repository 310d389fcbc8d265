"""Asking once where many want to know the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from service.domain.errors import LastseenError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Outcome(NamedTuple, Generic[T]):
    """What a question led to."""

    number: int
    answer: T | None
    error: LastseenError | None

    def get(self) -> T:
        if self.error is not None:
            raise self.error
        return self.answer  # type: ignore[return-value] # of the type that was asked for, None included


async def _ask(
    question: Callable[[], Awaitable[T]], number: int, told: "asyncio.Future[_Outcome[T] | None]"
) -> _Outcome[T]:
    """Ask in the name of all who wait for `told`; they get None where the one who asks is cancelled, or fails."""
    try:
        outcome = _Outcome(number, await question(), None)
    except LastseenError as error:
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

    def __init__(self, question: Callable[[], Awaitable[T]]) -> None:
        self._question = question
        self._number = 0
        self._asking: asyncio.Future[_Outcome[T] | None] | None = None

    async def ask(self) -> T:
        """The answer, or what it raises."""
        wanted = self._number + 1
        while self._asking is not None:
            outcome: _Outcome[T] | None = await asyncio.shield(self._asking)
            if outcome is not None and outcome.number >= wanted:
                return outcome.get()
        self._number += 1
        told: asyncio.Future[_Outcome[T] | None] = asyncio.get_running_loop().create_future()
        self._asking = told
        try:
            return (await _ask(self._question, self._number, told)).get()
        finally:
            self._asking = None
