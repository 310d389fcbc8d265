"""One statement for what many ask at the same time: a crowd's questions cost a node mostly the asking itself."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")

_LATE_SECONDS: Final = 0.25
_MOST_TASKS: Final = 4


class Gathered(Generic[K, T]):
    """Questions of one kind: those that come while others are being asked are asked together, `most` at once.

    They are asked in a task that ends when nobody waits: who stops waiting takes the answer from nobody else, and as
    many wait as have come. Where an answer is late, which may be one session's trouble, others are asked beside it.
    """

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Sequence[T]]], most: int) -> None:
        """`ask` gives the answers in the order of the questions; what it raises, all of them get."""
        self._ask = ask
        self._most = most
        self._waiting: deque[tuple[K, asyncio.Future[T]]] = deque()
        self._asking: dict[asyncio.Task[None], float] = {}
        """Since when each waits for its answer."""

    async def ask(self, question: K) -> T:
        """The answer to a question that is asked from here on, or what asking raises."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        self._waiting.append((question, told))
        late = loop.time() - _LATE_SECONDS
        if len(self._asking) < _MOST_TASKS and all(since < late for since in self._asking.values()):
            self._asking[loop.create_task(self._run(), name="gathered questions")] = loop.time()
        return await told

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "it is made for this"
        taken: list[tuple[K, asyncio.Future[T]]] = []
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
                self._asking[task] = asyncio.get_running_loop().time()
                await self._answer([one for one in taken if not one[1].done()])
        finally:
            del self._asking[task]
            # Where this was cancelled, the program ends.
            if not self._asking:
                taken += self._waiting
                self._waiting.clear()
            for _, told in taken:
                told.cancel()

    async def _answer(self, asked: Sequence[tuple[K, "asyncio.Future[T]"]]) -> None:
        if not asked:
            return
        try:
            answers = await self._ask([question for question, _ in asked])
        except Exception as error:  # noqa: BLE001 - raised to each of those who wait
            for _, told in asked:
                if not told.done():
                    told.set_exception(error)
            return
        for (_, told), answer in zip(asked, answers, strict=True):
            if not told.done():
                told.set_result(answer)
