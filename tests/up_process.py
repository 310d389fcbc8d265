"""`lastseen up` as tests run it: the real command, in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import until

READY_WITHIN = 120.0
COMMAND = (sys.executable, "-m", "service.cli")


class Up:
    """One data directory and the `up` that runs on it, if any. What it says is kept in files beside it."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts `up` and waits for its `ready` line."""
        self._stdout.write_bytes(b"")
        self._stderr.write_bytes(b"")
        with self._stdout.open("ab") as out, self._stderr.open("ab") as err:
            self._process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "up", "--data-dir", str(self.data_dir), "--port", str(self.port), *self._options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd="/",
            )
        process = self._process
        await until(
            lambda: self.said.endswith("\n") or process.returncode is not None,
            timeout=READY_WITHIN,
            what=f"`up` being ready ({self._stderr})",
        )
        assert process.returncode is None, self.told

    @property
    def said(self) -> str:
        """What `up` printed on stdout."""
        return self._stdout.read_text()

    @property
    def told(self) -> str:
        """What `up` printed on stderr."""
        return self._stderr.read_text()

    @property
    def instance(self) -> dict[str, Any]:
        """`instance.json` as it is now."""
        read: dict[str, Any] = json.loads((self.data_dir / "instance.json").read_text())
        return read

    @property
    def pids(self) -> dict[str, int]:
        """Name → pid of the instance's processes."""
        found: dict[str, int] = self.instance["processes"]
        return found

    async def signal(self, number: signal.Signals) -> int:
        """Sends `number` to the supervisor and waits for its end; returns its exit status."""
        assert self._process is not None, "started"
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()

    async def close(self) -> None:
        """Ends what still runs."""
        if self._process is not None and self._process.returncode is None:
            await self.signal(signal.SIGTERM)

    @property
    def _stdout(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".out")

    @property
    def _stderr(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".err")


async def lastseen(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Runs a `lastseen` command to its end, `environment` added to ours: exit status, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        cwd="/",
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def free_port(count: int = 4) -> int:
    """The first of `count` successive free ports, for nodes."""
    from service.embedded.free_ports import choose, is_free

    while True:
        (port,) = choose(1)
        if all(is_free(port + more) for more in range(count)):
            return port


def runs(pid: int) -> bool:
    """Whether the process runs; one that has ended and whose parent is slow to notice does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
