"""A server's address that can be shut: who goes through finds nobody there, as if the server had stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from service.embedded.free_ports import choose


class Gate:
    """Passes connections on to `host:port`, as long as it is open."""

    def __init__(self, host: str, port: int, own_port: int) -> None:
        self._there = host, port
        self.port = own_port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let through."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def shut(self) -> None:
        """Cut everybody off, and refuse who comes."""
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection(*self._there)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pour(reader, there))
                ways.create_task(_pour(answers, writer))
        except asyncio.CancelledError:
            return  # shut: the stream's own callback takes a cancelled task for a fault
        finally:
            for one in (writer, there):
                if one is not None:
                    one.transport.abort()


async def _pour(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            to.write(data)
            await to.drain()
    to.close()


@asynccontextmanager
async def gate_to(url: str) -> AsyncIterator[tuple[Gate, str]]:
    """An open gate to the server of a URL, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    (port,) = choose(1)
    gate = Gate(parts.hostname, parts.port, port)
    await gate.open()
    try:
        user, at, _ = parts.netloc.rpartition("@")
        yield gate, urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
    finally:
        await gate.shut()
