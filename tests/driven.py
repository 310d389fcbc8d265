"""What the tests do to an instance that `lastseen up` runs: start its tools, kill its processes, read its logs."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from lastseen.chunks import read_chunk

from tests.up_process import COMMAND, Up, lastseen, runs
from tests.waiting import until

Process = asyncio.subprocess.Process


@dataclass(frozen=True)
class Shown:
    """A file that tools write to."""

    file: Path

    @property
    def size(self) -> int:
        """Bytes in it; 0 while it is not there."""
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def content(self) -> bytes:
        """What it holds."""
        return self.file.read_bytes()

    def keep_whole_lines(self) -> None:
        """Drop a last line that is not complete."""
        os.truncate(self.file, self.content.rfind(b"\n") + 1)


@dataclass(frozen=True)
class Driven:
    """A running instance."""

    up: Up
    drains: list[asyncio.Task[None]] = field(default_factory=list)
    """Take what the programs run show, so that they go on; each ends with its program."""

    async def start(self, command: str, *arguments: str, stdout: int = asyncio.subprocess.DEVNULL) -> Process:
        """`lastseen COMMAND --data-dir D ARGUMENTS`, started."""
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, command, "--data-dir", str(self.up.data_dir), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def start_into(self, shown: Shown, command: str, *arguments: str) -> Process:
        """The same, its stdout appended to a file."""
        with shown.file.open("ab") as output:
            return await self.start(command, *arguments, stdout=output.fileno())

    async def start_program(self, task: str, *arguments: object, project: str | None = None) -> Process:
        """`lastseen run` of `tests.output_program ARGUMENTS`; back once the log has the task's start."""
        program = (sys.executable, "-m", "tests.output_program", *map(str, arguments))
        return await self.start_run(task, *program, project=project)

    async def start_run(
        self,
        task: str,
        *command: str,
        project: str | None = None,
        takes_input: bool = False,
        adapter: str = "plain",
    ) -> Process:
        """`lastseen run COMMAND`; back once the log has the task's start: only then it shows output."""
        options = ["--task", task, "--adapter", adapter, *(("--project", project) if project else ())]
        options += ["--input"] if takes_input else []
        run = await self.start("run", *options, "--", *command, stdout=asyncio.subprocess.PIPE)
        assert run.stdout is not None
        assert await run.stdout.read(1)
        self.drains.append(asyncio.create_task(_drain(run.stdout)))
        return run

    async def token(self, *arguments: str) -> str:
        """`lastseen token ARGUMENTS`."""
        status, out, err = await lastseen("token", "--data-dir", str(self.up.data_dir), *arguments)
        assert status == 0, err
        return out.strip()

    def kill(self, name: str) -> None:
        """End a process of the instance without a word."""
        os.kill(self.up.pids[name], signal.SIGKILL)

    async def kill_and_see_it_back(self, name: str) -> None:
        """The same, and wait until the supervisor has started another."""
        before = self.up.pids[name]
        self.kill(name)
        await until(lambda: self.up.pids[name] != before, timeout=30, what=f"{name} started again")

    async def until_well(self) -> None:
        """Wait until everything runs and answers."""
        await until(self._is_well, timeout=40, what="everything running and answering")

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A process that answers nothing, and no child of it either, as long as the block lasts."""
        parent = psutil.Process(self.up.pids[name])
        parent.suspend()
        family = [*parent.children(recursive=True), parent]
        try:
            for process in family:
                process.suspend()
            yield
        finally:
            for process in family:
                process.resume()

    async def _is_well(self) -> bool:
        """Whether everything runs and answers."""
        if not all(runs(pid) for pid in self.up.pids.values()):
            return False
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                ready = (await http.get(f"{self.up.instance['url']}/readyz")).status_code == 200
            await (await asyncpg.connect(self.up.instance["database_url"], timeout=2)).close()
        except (httpx.HTTPError, OSError, TimeoutError, asyncpg.PostgresError):
            return False
        return ready


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


def events_in(lines: bytes) -> list[dict[str, Any]]:
    """The events of `tail --json`."""
    return [json.loads(line) for line in lines.splitlines()]


def output_in(events: Iterable[dict[str, Any]], *streams: str) -> bytes:
    """The bytes that the `task_output` events among `events` carry, in their order."""
    joined, next_ = bytearray(), dict.fromkeys(streams, 0)
    for event in events:
        if event["type"] == "task_output" and event["data"]["stream"] in streams:
            chunk = read_chunk(event["data"])
            assert chunk.offset == next_[chunk.stream], event["data"]
            next_[chunk.stream] += len(chunk.raw)
            joined += chunk.raw
    return bytes(joined)


async def ended(process: Process, within: float = 60.0) -> int:
    """The exit code of a process that is to end by itself."""
    async with asyncio.timeout(within):
        return await process.wait()


async def kill_when_grown(process: Process, shown: Shown, by: int) -> bool:
    """Kill `process` once it has written so much to `shown`; False where it had ended by itself, with 0."""
    wanted = shown.size + by
    await until(lambda: process.returncode is not None or shown.size >= wanted, timeout=60, what="more output")
    if process.returncode is None:
        process.kill()
    code = await process.wait()
    assert code in (0, -signal.SIGKILL), f"it ended by itself with {code}"
    return code != 0


@pytest.fixture(scope="session")
async def driven(open_folder: Path) -> AsyncIterator[Driven]:
    """A running instance of the session. After the last test nothing that its processes logged is unexplained."""
    up = Up(open_folder / "driven", "--no-welcome")
    try:
        await up.start()
        driven = Driven(up)
        yield driven
        await asyncio.gather(*driven.drains)
    finally:
        await up.close()
    assert "Traceback" not in up.told
    assert not unexplained(up.data_dir / "logs")


def unexplained(logs: Path) -> list[str]:
    """Tracebacks in the logs of an instance: whatever happens to its servers is told in a sentence."""
    found = []
    for log in sorted(logs.glob("*.log*")):
        text = log.read_text(errors="replace")
        at = text.find("Traceback")
        if at >= 0 and not log.name.startswith("kafka"):
            found.append(f"{log.name}: {text[max(0, at - 500) : at + 3000]}")
    return found
