"""Many sockets that are written to, and the process that takes and counts what they get."""

import asyncio
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Protocol

from benchmarks.compiled import compiled
from benchmarks.processes import running
from benchmarks.site import Site
from service.embedded.free_ports import HOST

_ANSWER_SECONDS = 120.0
_BACKLOG = 1024


class Sink:
    """The process that reads for many sockets; see `benchmarks.sink`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._expected = 0

    async def order(self, **order: object) -> None:
        """Make it connect; returns once all its sockets are ready."""
        await self._say(json.dumps(order))
        if await self._answer() != b"ready":
            raise RuntimeError("the sink did not get ready: see its log")

    async def expect(self, size: int) -> None:
        """Wait until `size` bytes more have come to each. Raises RuntimeError when it is not exactly those."""
        self._expected += size
        await self._say(str(self._expected))
        least, most = map(int, (await self._answer()).split())
        if not least == most == self._expected:
            raise RuntimeError(f"subscribers got {least} to {most} bytes, not the {self._expected} of the frames")

    def check(self) -> None:
        """Raises RuntimeError where it has ended, and its sockets with it."""
        if self._process.returncode is not None:
            raise RuntimeError("the sink has ended: see its log")

    async def _say(self, line: str) -> None:
        assert self._process.stdin is not None, "piped"
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None, "piped"
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sink has ended: see its log")
        return line.strip()


@asynccontextmanager
async def sink(site: Site, **order: object) -> AsyncIterator[Sink]:
    """So many sockets, connected to a server of this machine and ready; `order` is as in `benchmarks.sink`."""
    counter = compiled("counter", site.folder)
    async with running(site, "benchmarks.sink", piped=True) as process:
        taking = Sink(process)
        await taking.order(**{"host": HOST, "counter": None if counter is None else str(counter), **order})
        yield taking


class BareWriter(Protocol):
    """Writes ready frames to every socket of a sink, with nothing around it."""

    what: str

    async def write(self, frames: bytes) -> float:
        """CPU seconds for one burst to every socket; returns once all of it has been read."""
        ...


@asynccontextmanager
async def bare_writer(site: Site, subscribers: int) -> AsyncIterator[BareWriter]:
    """In C where there is a compiler, else in Python."""
    program = compiled("sender", site.folder)
    with socket.create_server((HOST, 0), backlog=_BACKLOG) as server, ExitStack() as stack:
        accepting = asyncio.create_task(asyncio.to_thread(_accept, server, subscribers, stack))
        async with sink(site, port=server.getsockname()[1], sockets=subscribers) as taking:
            sockets = await accepting
            if program is None:
                yield _PythonWriter(sockets, taking)
                return
            fds = [one.fileno() for one in sockets]
            with (site.folder / "sender.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    program,
                    *map(str, fds),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    pass_fds=fds,
                )
            try:
                yield _CompiledWriter(process, taking)
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()


def _accept(server: socket.socket, count: int, stack: ExitStack) -> Sequence[socket.socket]:
    sockets = [stack.enter_context(server.accept()[0]) for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
    return sockets


class _CompiledWriter:
    what = "send() of the same ready frames from C, one a socket and burst"

    def __init__(self, process: asyncio.subprocess.Process, taking: Sink) -> None:
        self._process = process
        self._taking = taking

    async def write(self, frames: bytes) -> float:
        assert self._process.stdin is not None, "piped"
        assert self._process.stdout is not None, "piped"
        self._process.stdin.write(b"%d\n%b" % (len(frames), frames))
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sender has ended: see its log")
        await self._taking.expect(len(frames))
        return int(line) / 1e9


class _PythonWriter:
    what = "socket.send of the same ready frames from Python (no C compiler here), one a socket and burst"

    def __init__(self, sockets: Sequence[socket.socket], taking: Sink) -> None:
        self._sockets = sockets
        self._taking = taking

    async def write(self, frames: bytes) -> float:
        used = await asyncio.to_thread(self._write, frames)
        await self._taking.expect(len(frames))
        return used

    def _write(self, frames: bytes) -> float:
        started = time.thread_time()
        size = len(frames)
        for one in self._sockets:
            sent = 0
            while sent < size:
                try:
                    sent += one.send(frames[sent:] if sent else frames)
                except BlockingIOError:
                    select.select((), (one,), ())
        return time.thread_time() - started
