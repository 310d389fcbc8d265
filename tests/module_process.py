"""Starts our programs as processes of their own: `python -m MODULE`, the imports done ahead for those started often."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OFTEN = frozenset({"service.main", "consumers.log_writer", "consumers.projections", "consumers.runner"})
"""Started hundreds of times, and a second each that way. `lastseen up` starts its own, as users do."""

_ROOT = Path(__file__).parents[1]


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter reads when it starts, and what is forked would not notice."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


_FORKED = _of_python(os.environ)
_servers: dict[str, tuple[subprocess.Popen[bytes], socket.socket]] = {}
"""Those that fork, by module; each ends with its socket, and so with this process."""


class ForkedProcess(asyncio.Protocol):
    """A process of `tests.fork_server`, with what of `asyncio.subprocess.Process` tests use."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._heard = b""
        self._started = asyncio.Event()
        self._ended = asyncio.Event()

    async def started(self) -> None:
        """Back once it has a pid."""
        await self._started.wait()
        if not self.pid:
            raise ConnectionResetError("what forks the processes of the tests has ended: see its stderr")

    async def wait(self) -> int:
        """Wait for its end: its return code."""
        await self._ended.wait()
        if self.returncode is None:
            raise ConnectionResetError("what forks the processes of the tests has ended")
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError once it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(9)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            if not self.pid:
                self.pid = int(line)
                self._started.set()
            else:
                self.returncode = int(line)
                self._ended.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._started.set()
        self._ended.set()


ModuleProcess = asyncio.subprocess.Process | ForkedProcess


async def start_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> ModuleProcess:
    """`python -m MODULE ARGUMENTS`, started; `environment` is all of it, and what is None is as it is here."""
    environment = dict(environment or os.environ)
    if module not in OFTEN or _of_python(environment) != _FORKED:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments), env=environment, stdout=stdout, stderr=stderr
        )
    ours, theirs = socket.socketpair()
    standard = [0, 1 if stdout is None else stdout, 2 if stderr is None else stderr]
    with theirs:
        socket.send_fds(_server(module), [b"."], [theirs.fileno(), *standard])
    asked = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
    transport, process = await asyncio.get_running_loop().create_connection(ForkedProcess, sock=ours)
    transport.write(json.dumps(asked).encode() + b"\n")
    await process.started()
    return process


def _server(module: str) -> socket.socket:
    if module not in _servers:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.fork_server", module, str(theirs.fileno())]
            others = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LASTSEEN_"))}
            server = subprocess.Popen(command, cwd=_ROOT, env=others | _FORKED, pass_fds=[theirs.fileno()])
            _servers[module] = server, ours
    return _servers[module][1]
