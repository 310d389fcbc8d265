"""Runners as processes of their own, commanded through Kafka, and what the log says of their tasks."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psutil
from lastseen.commands import Command, CommandName
from lastseen.task_start import TaskStart
from pydantic_core import from_json

from service.adapters.kafka.commands import KafkaCommands
from service.adapters.kafka.log import KafkaLog, open_log
from service.domain.duplicates import LookBack
from service.domain.records import read_record
from tests.module_process import ModuleProcess, start_module
from tests.nodes import Ground, Message
from tests.waiting import until

LEASE_SECONDS = 3.0
ENDS = ("task_completed", "task_failed", "task_cancelled", "task_timeout")


@dataclass
class RunnerProcess:
    """`python -m consumers.runner`, or of another module that runs it."""

    name: str
    environment: dict[str, str]
    log: Path
    module: str
    process: ModuleProcess | None = None

    async def start(self) -> None:
        """Start it, and wait until it reads commands."""
        with self.log.open("ab") as out:
            self.process = await start_module(
                self.module, environment=self.environment, stdout=out.fileno(), stderr=out.fileno()
            )
        await until(lambda: "reading commands" in self.said, timeout=60, what="the runner reading")

    @property
    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """A signal to it alone."""
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, how: signal.Signals) -> int:
        """Send it `how`; its exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.process.wait()


@dataclass
class RunnerSite:
    """A topic of events and one of commands, and what reads and writes them beside the runners."""

    ground: Ground
    log: KafkaLog
    commands: KafkaCommands
    folder: Path
    work_root: Path
    runners: list[RunnerProcess] = field(default_factory=list)

    @asynccontextmanager
    async def runner(
        self, name: str, *, module: str = "consumers.runner", **settings: object
    ) -> AsyncIterator[RunnerProcess]:
        """A runner that allows all, unless `settings` say otherwise (environment variables less their prefix)."""
        given = {
            "allow": '["*"]',
            "allow_env": "GREETING",
            "work_root": self.work_root,
            "runner_lease_seconds": LEASE_SECONDS,
            "interrupt_seconds": 0.5,
            "terminate_seconds": 0.5,
            **settings,
        }
        environment = {**os.environ, **self.ground.environment, "INSTANCE_ID": name, "LASTSEEN_JWT_SECRET": "hidden"}
        environment |= {f"LASTSEEN_{key.upper()}": str(value) for key, value in given.items()}
        runner = RunnerProcess(name, environment, self.folder / f"{name}-{uuid4().hex}.log", module)
        try:
            await runner.start()
            yield runner
            assert "Traceback" not in runner.said
        finally:
            if runner.process is not None and runner.process.returncode is None:
                with suppress(ProcessLookupError):
                    runner.send(signal.SIGCONT)
                await runner.end(signal.SIGKILL)
            print(runner.said)

    async def start(self, task: str, *command: str, **more: object) -> Command:
        """Ask for a task; what was asked."""
        start = TaskStart.model_validate({"command": command, **more})
        return await self.send(task, CommandName.START, start.to_data())

    async def send(
        self,
        task: str,
        name: CommandName,
        data: Message | None = None,
        *,
        id_: str | None = None,
        user: str = "ann",
        seconds: float = 20.0,
    ) -> Command:
        """Append a command that may be applied for so many seconds from now on."""
        command = Command(
            id=id_ or uuid4().hex,
            command=name,
            task_id=task,
            project_id="shop",
            user_id=user,
            deadline=datetime.now(UTC) + timedelta(seconds=seconds),
            node="n1",
            data=data or {},
        )
        await self.commands.append(command)
        return command

    async def events(self, task: str) -> list[Message]:
        """What counts of the task's channel, in its order."""
        partition = self.log.partition_of(b"shop")
        look_back, found = LookBack(), []
        first, next_ = (await self.log.bounds())[partition]
        async for batch in self.log.read(partition, first, next_):
            for raw in batch.records:
                record = read_record(raw)
                if look_back.judge(record) is None and record.task == task:
                    found.append(from_json(record.value))
        return found

    async def hear(self, task: str, type_: str, **data: object) -> Message:
        """The first event of that type and with these fields in its data, once it is there."""

        async def find() -> Message | None:
            for event in await self.events(task):
                if event["type"] == type_ and all(event["data"].get(name) == value for name, value in data.items()):
                    return dict(event)
            return None

        found = await until(find, timeout=60, what=f"{type_} of {task} with {data}")
        assert found is not None
        return found

    async def output(self, task: str, stream: str = "stdout") -> str:
        """What its program has written to one stream so far."""
        told = [event["data"] for event in await self.events(task) if event["type"] == "task_output"]
        return "".join(data["text"] for data in told if data["stream"] == stream)

    async def end(self, task: str) -> Message:
        """Its terminal event."""

        async def find() -> Message | None:
            return next((event for event in await self.events(task) if event["type"] in ENDS), None)

        found = await until(find, timeout=60, what=f"the end of {task}")
        assert found is not None
        return found


@asynccontextmanager
async def running_site(ground: Ground, folder: Path) -> AsyncIterator[RunnerSite]:
    """Everything but runners; `folder` is for logs and work."""
    (folder / "work").mkdir(exist_ok=True)
    async with (
        open_log(ground.kafka, ground.topic) as log,
        KafkaCommands(ground.kafka, ground.environment["LASTSEEN_COMMANDS_TOPIC"]) as commands,
    ):
        yield RunnerSite(ground, log, commands, folder, folder / "work")


def marked(mark: str) -> list[int]:
    """The processes that go on and have an argument that is `mark`, or begins with it and a dash.

    No looser than that: a word can be in the command line of anything that happens to run on the machine.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_marked = any(argument == mark or argument.startswith(f"{mark}-") for argument in process.cmdline())
            if is_marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
