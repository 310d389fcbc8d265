"""Two who watch a task: a page, by the rules of the protocol, and `lastseen tail` at a terminal. Both can be killed."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import uuid4

from lastseen.names import PRESENCE_TYPES
from lastseen.notices import Message
from pydantic_core import from_json
from websockets.exceptions import ConnectionClosed

from tests.faults.rules import RuleFollower
from tests.nodes import WAIT, NodeProcess, WireClient, token
from tests.up_process import COMMAND


@dataclass
class Page:
    """Subscribes, remembers its position, and commands over the same connection."""

    task: str
    user: str
    after: str
    """Where it begins to watch."""
    events: list[Message] = field(default_factory=list)
    """Whatever counted for the task's channel, in the order in which it came."""
    wrong: list[str] = field(default_factory=list)
    _client: WireClient | None = None
    _reading: asyncio.Task[None] | None = None
    _answers: dict[str, asyncio.Future[Message]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._follower = RuleFollower(self.user, Random(0))
        self._channel = f"task:{self.task}"

    @property
    def is_open(self) -> bool:
        """Whether it has a connection."""
        return self._client is not None

    async def open(self, node: NodeProcess) -> None:
        """Come, or come back with the position that it has."""
        came_before = bool(self._follower.channels)
        after, messages = self._follower.connect("each its own")
        query = {} if after is None else {"after": after}
        self._client = node.client(token(self.user), headers=None, **query)
        await self._client.__aenter__()
        self._take(await self._client.hear("connection_established"))
        messages = messages if came_before else self._follower.subscribe([self._channel], {"after": self.after})
        for message in messages:
            await self._client.send(message)
        self._reading = asyncio.create_task(self._read(self._client))

    async def kill(self) -> None:
        """Break the connection, as a page does whose machine is gone."""
        client, self._client = self._client, None
        assert client is not None
        assert self._reading is not None
        client.socket.transport.abort()
        await self._reading
        self._follower.disconnected()

    async def command(self, type_: str, **fields: object) -> Message:
        """Send a command; its result."""
        assert self._client is not None
        id_ = uuid4().hex
        answer = self._answers[id_] = asyncio.get_running_loop().create_future()
        await self._client.send({"type": type_, "task_id": self.task, "id": id_, **fields})
        async with asyncio.timeout(WAIT):
            result: Message = await answer
        return result

    async def _read(self, client: WireClient) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in client.socket:
                message: Message = from_json(text)
                for answer in self._take(message):
                    await client.send(answer)

    def _take(self, message: Message) -> list[Message]:
        got = self._follower.followed.got
        had = len(got.get(self._channel, ()))
        answers = self._follower.receive(message)
        if len(got.get(self._channel, ())) > had and message["type"] not in PRESENCE_TYPES:
            self.events.append(message)
        if message["type"] in ("gap", "error"):
            self.wrong.append(f"the page was told {message}")
        if (answer := self._answers.pop(str(message.get("id")), None)) is not None:
            answer.set_result(message)
        return answers


@dataclass
class Terminal:
    """`lastseen tail --json --save`, as a process that writes into a file."""

    task: str
    user: str
    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def open(self, node: NodeProcess) -> None:
        """Start it; it goes on where it was."""
        save, out = self.folder / f"{self.task}.place", self._out
        environment = {**os.environ, "LASTSEEN_URL": node.url, "LASTSEEN_TOKEN": token(self.user)}
        with out.open("ab") as written, out.with_suffix(".err").open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "tail", f"task:{self.task}", "--json", "--save", str(save)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=written,
                stderr=said,
                env=environment,
            )

    async def kill(self) -> None:
        """With -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.process = None

    async def end(self) -> int:
        """Its exit status, once it has ended by itself."""
        assert self.process is not None
        async with asyncio.timeout(WAIT):
            return await self.process.wait()

    @property
    def events(self) -> list[Message]:
        """What its file holds now; of a line that is just being written nothing."""
        if not self._out.exists():
            return []
        lines = self._out.read_bytes().split(b"\n")[:-1]
        return [event for line in lines if (event := from_json(line))["type"] not in PRESENCE_TYPES]

    @property
    def _out(self) -> Path:
        return self.folder / f"{self.task}.out"
