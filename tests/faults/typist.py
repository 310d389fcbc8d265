"""Somebody who types to a task over lines that break and nodes that go away, and sends again what is not known."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

import httpx
from lastseen.notices import Message

from tests.faults.paced_line import PacedLine
from tests.faults.workshop import Workshop
from tests.nodes import NodeProcess, token

_WAYS: Final = {"stay": 5, "half": 1, "cut behind": 2, "cut while waiting": 3, "two ways at once": 1}
ANSWER_SECONDS: Final = 30.0
"""A node says within 12 seconds what it knows."""
State = Literal["applied", "expired", "again"]
AGAIN: Final = ("unknown", "unavailable", "too_many_commands")
"""States and errors that say: the same, with the same id."""


@dataclass
class Typist:
    """Types `USER 0`, `USER 1`, … as lines, each once the one before is known to have been applied."""

    user: str
    task: str
    workshop: Workshop
    random: Random
    counts: Counter[str] = field(default_factory=Counter)
    applied: list[str] = field(default_factory=list)
    """Ids of the commands, in the order of typing."""
    expired: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _line: PacedLine | None = None
    _messages: AsyncIterator[Message] | None = None

    async def type(self, inputs: int) -> None:
        """Type so many."""
        try:
            for number in range(inputs):
                attempt = 0
                while await self._send(f"i{number}.{attempt}", f"{self.user} {number}\n") == "expired":
                    # It was not applied and never will be: another id says the same anew.
                    self.expired.append(f"i{number}.{attempt}")
                    attempt += 1
                self.applied.append(f"i{number}.{attempt}")
        finally:
            self._end()

    async def _send(self, id_: str, text: str) -> State:
        """Send one command until its state is final."""
        while True:
            (way,) = self.random.choices(list(_WAYS), list(_WAYS.values()))
            states: Sequence[State]
            if way == "two ways at once":
                states = await asyncio.gather(self._over_http(id_, text), self._over_line("stay", id_, text))
            else:
                states = [await self._over_line(way, id_, text)]
            final = [state for state in states if state != "again"]
            if len({*final}) > 1:
                self.wrong.append(f"{self.user} {id_}: answered with {states}")
            if final:
                return final[0]
            self.counts["sent again"] += 1
            await asyncio.sleep(self.random.choice([0, 0, 0.02, 0.2]))

    async def _over_line(self, way: str, id_: str, text: str) -> State:
        try:
            line = await self._connected()
        except OSError:
            # The node is gone just now.
            return "again"
        if way == "half":
            self.counts["cuts"] += 1
        else:
            self.counts["sent"] += 1
        command = {"type": "task_input", "task_id": self.task, "input": text, "id": id_}
        await line.send(command, half=way == "half")
        if way == "cut behind":
            self._cut(line)
        elif way == "cut while waiting":
            asyncio.get_running_loop().call_later(self.random.uniform(0, 0.06), self._cut, line)
        return await self._answer(id_)

    async def _answer(self, id_: str) -> State:
        assert self._messages is not None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async for message in self._messages:
                    if message["type"] == "input_result" and message["id"] == id_:
                        return self._read(id_, message, message["success"])
                    if message["type"] == "error":
                        return self._read(id_, {"state": message["code"]}, success=False)
        except TimeoutError:
            self.wrong.append(f"{self.user} {id_}: no answer within {ANSWER_SECONDS:.0f} s")
        self._end()
        return "again"

    async def _over_http(self, id_: str, text: str) -> State:
        self.counts["sent over HTTP"] += 1
        path, body = f"/{self.task}/input", {"input": text, "id": id_}
        try:
            answer = await self.workshop.post(self._some_node(), path, body, self.user)
        except httpx.TransportError:
            return "again"
        said = answer.json()
        return self._read(id_, {"state": said.get("state") or said["code"]}, said.get("success", False))

    def _read(self, id_: str, message: Message, success: bool) -> State:
        state = message["state"]
        self.counts[f"answered {state}"] += 1
        if success != (state == "applied"):
            self.wrong.append(f"{self.user} {id_}: success is {success}, and {state}")
        if state in AGAIN:
            return "again"
        if state not in ("applied", "expired"):
            raise AssertionError(f"{self.user} {id_}: {message}")
        return "applied" if state == "applied" else "expired"

    async def _connected(self) -> PacedLine:
        if self._line is None or self._line.was_cut:
            self._end()
            address = f"{self._some_node().url.replace('http', 'ws')}/ws?token={token(self.user)}"
            self._line = await PacedLine.open(address, segment=None)
            self._messages = self._line.messages()
            self.counts["connections"] += 1
            try:
                greeting = await anext(self._messages, None)
            except OSError:
                self._end()
                raise
            if greeting is None:
                self._end()
                raise ConnectionResetError("it broke before the greeting")
        return self._line

    def _cut(self, line: PacedLine) -> None:
        """Break it, unless there is another by now."""
        if line is self._line and not line.was_cut:
            self.counts["cuts"] += 1
            line.cut(reset=self.random.random() < 0.5)

    def _end(self) -> None:
        if self._line is not None:
            self._line.end()
        self._line = self._messages = None

    def _some_node(self) -> NodeProcess:
        return self.random.choice(self.workshop.nodes)
