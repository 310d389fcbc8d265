"""Questions to all nodes, and what they answer within a moment."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.domain.errors import Unavailable
from service.domain.presence import NodeCounts
from service.domain.presence_records import About, Answer, Counts, Question

ASK_SECONDS: Final = 1.0
"""How long the other nodes are waited for: a live one answers within some milliseconds."""
MAX_OPEN: Final = 200
"""Questions of one node that wait for answers; another is refused."""

Live = Mapping[str, NodeCounts]


@dataclass(slots=True)
class Asked:
    """A question under way. Until it has come back through the topic nobody knows which nodes there are."""

    about: About
    done: asyncio.Event = field(default_factory=asyncio.Event)
    nodes: Live | None = None
    """Those that were live when it came back."""
    answers: dict[str, Counts] = field(default_factory=dict)


class Asking:
    """Asks for this node, and answers for it.

    A question goes through the topic like everything else, so its answers count all that was connected, on
    whatever node, when it was asked.
    """

    def __init__(self, post: Callable[[Question | Answer], None], count: Callable[[About], Counts]) -> None:
        self._post = post
        self._count = count
        self._counted: dict[About, Counts] = {}
        self._number = 0
        self._open: dict[int, Asked] = {}

    async def ask(self, incarnation: str, about: About) -> Asked:
        """What each node has, as far as it answered in time. Raises Unavailable when nobody could be asked."""
        if len(self._open) >= MAX_OPEN:
            raise Unavailable(f"{MAX_OPEN} questions wait for the other nodes' answers already: ask again later")
        self._number += 1
        number, asked = self._number, Asked(about)
        self._open[number] = asked
        try:
            self._post(Question(incarnation, number, about))
            async with asyncio.timeout(ASK_SECONDS):
                await asked.done.wait()
        except TimeoutError:
            if asked.nodes is None:
                raise Unavailable("the other nodes can't be asked now: Kafka does not answer in time") from None
        finally:
            del self._open[number]
        return asked

    def forget_counts(self) -> None:
        """What is counted from now on may be another number; until then each thing is counted once."""
        self._counted.clear()

    def question(self, incarnation: str, question: Question, live: Live) -> None:
        """A question has come: answer it, and learn from one's own who has to answer."""
        counts = self._counted.get(question.about)
        if counts is None:
            counts = self._counted[question.about] = self._count(question.about)
        self._post(Answer(incarnation, question.asker, question.number, counts))
        asked = self._open.get(question.number)
        if asked is not None and question.asker == incarnation:
            asked.nodes = live
            self._check(asked)

    def answer(self, incarnation: str, answer: Answer) -> None:
        """An answer has come, perhaps to this node."""
        asked = self._open.get(answer.number)
        if asked is not None and answer.asker == incarnation:
            asked.answers[answer.incarnation] = answer.counts
            self._check(asked)

    def _check(self, asked: Asked) -> None:
        if asked.nodes is not None and asked.nodes.keys() <= asked.answers.keys():
            asked.done.set()
