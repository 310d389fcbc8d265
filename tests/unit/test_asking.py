"""Commands of a client over interruptions: one id, one answer, whatever comes between."""

import asyncio
from typing import Any

import pytest
from lastseen.asking import Asking, CommandResult
from lastseen.commands import CommandName
from lastseen.errors import AccessDenied, BadRequest, Closed, LastseenError, ProtocolError
from lastseen.notices import Message

from tests.simulation import simulate
from tests.waiting import until


class Line:
    """What reaches the server."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.asking = Asking(self.sent.append)

    def ask(self, id_: str | None = "c") -> asyncio.Task[CommandResult]:
        return asyncio.create_task(self.asking.command(CommandName.INPUT, "t", id_, input="x"))

    async def until_sent(self, count: int) -> Message:
        await until(lambda: len(self.sent) == count, what=f"{count} messages sent")
        return self.sent[-1]

    def answer(self, **more: Any) -> bool:
        """To the last message."""
        result = {"type": "input_result", "task_id": "t", "id": self.sent[-1]["id"], "ref": self.sent[-1]["ref"]}
        return self.asking.take({**result, **more})


def test_an_answer_is_known_by_its_ref() -> None:
    async def main() -> None:
        line = Line()
        asking = line.ask()
        message = await line.until_sent(1)
        assert message == {"type": "task_input", "task_id": "t", "id": "c", "ref": message["ref"], "input": "x"}
        assert not line.asking.take({"type": "input_result", "state": "applied"})
        assert not line.asking.take({"type": "pong", "ref": "other"})
        assert line.answer(state="applied", reason=None)
        assert await asking == CommandResult("c", "t", "applied", None)
        assert not line.answer(state="rejected"), "nothing is waited for any more"
        assert not line.asking.unanswered

    simulate(main)


def test_what_is_unanswered_goes_over_the_next_connection_with_the_same_id() -> None:
    async def main() -> None:
        line = Line()
        first, second = line.ask(None), line.ask(None)
        await line.until_sent(2)
        assert list(line.asking.unanswered) == line.sent
        assert line.sent[0]["id"] != line.sent[1]["id"]
        line.answer(state="unknown", reason="no_answer")
        assert (await second).success is False
        assert list(line.asking.unanswered) == line.sent[:1]
        first.cancel()
        await asyncio.wait([first])
        assert not line.asking.unanswered

    simulate(main)


def test_what_passes_is_asked_again() -> None:
    async def main() -> None:
        line = Line()
        asking = line.ask()
        for count in range(1, 4):
            first = (await line.until_sent(count)) == line.sent[0]
            assert first
            line.answer(type="error", message="away", code="unavailable", retry_after=5)
        await line.until_sent(4)
        line.answer(state="applied")
        assert (await asking).success

    simulate(main)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"type": "error", "message": "Task access denied", "code": "access_denied"}, AccessDenied),
        ({"type": "error", "message": "Task ID required", "code": "task_id_required"}, BadRequest),
        ({"id": "c"}, ProtocolError),
    ],
)
def test_what_does_not_pass_is_raised(answer: Message, error: type[LastseenError]) -> None:
    async def main() -> None:
        line = Line()
        asking = line.ask()
        await line.until_sent(1)
        line.answer(**answer)
        with pytest.raises(error):
            await asking

    simulate(main)


def test_the_end_of_the_client_ends_them_all() -> None:
    async def main() -> None:
        line = Line()
        waiting, pausing = line.ask("a"), line.ask("b")
        await line.until_sent(2)
        line.answer(type="error", code="unavailable", retry_after=5)
        await until(lambda: len(line.asking.unanswered) == 1)
        line.asking.fail(Closed("over"))
        for asking in (waiting, pausing, line.ask("late")):
            with pytest.raises(Closed, match="over"):
                await asking

    simulate(main)
