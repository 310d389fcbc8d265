"""What the tests do to an instance that `lastseen up` runs: start its tools, kill its processes, read its logs."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from lastseen.chunks import read_chunk

from tests.up_process import COMMAND, Up, lastseen, runs
from tests.waiting import until

Process = asyncio.subprocess.Process


@dataclass(frozen=True)
class Driven:
    """A running instance."""

    up: Up

    async def start(self, command: str, *arguments: str, stdout: int = asyncio.subprocess.DEVNULL) -> Process:
        """`lastseen COMMAND --data-dir D ARGUMENTS`, started."""
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, command, "--data-dir", str(self.up.data_dir), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def start_into(self, file: Path, command: str, *arguments: str) -> Process:
        """The same, its stdout appended to `file`."""
        with file.open("ab") as output:
            return await self.start(command, *arguments, stdout=output.fileno())

    async def start_program(self, task: str, *arguments: object, project: str | None = None) -> Process:
        """`lastseen run` of `tests.faults.output ARGUMENTS`."""
        program = (sys.executable, "-m", "tests.faults.output", *map(str, arguments))
        return await self.start(
            "run", "--quiet", "--task", task, *(("--project", project) if project else ()), "--", *program
        )

    async def token(self, *arguments: str) -> str:
        """`lastseen token ARGUMENTS`."""
        status, out, err = await lastseen("token", "--data-dir", str(self.up.data_dir), *arguments)
        assert status == 0, err
        return out.strip()

    def kill(self, name: str) -> None:
        """End a process of the instance without a word."""
        os.kill(self.up.pids[name], signal.SIGKILL)

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

    async def is_well(self) -> bool:
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


async def kill_when_grown(process: Process, file: Path, by: int) -> bool:
    """Kill `process` once it has written so much to `file`; False if it had ended before."""
    wanted = file.stat().st_size + by
    await until(lambda: process.returncode is not None or file.stat().st_size >= wanted, timeout=60, what="more output")
    if process.returncode is not None:
        return False
    process.kill()
    await process.wait()
    return True


def unexplained(logs: Path) -> list[str]:
    """Tracebacks in the logs of an instance: whatever happens to its servers is told in a sentence."""
    found = []
    for log in sorted(logs.glob("*.log*")):
        text = log.read_text(errors="replace")
        at = text.find("Traceback")
        if at >= 0 and not log.name.startswith("kafka"):
            found.append(f"{log.name}: {text[max(0, at - 500) : at + 3000]}")
    return found
