"""A line between a page and a node that can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Line:
    """Passes bytes on, both ways."""

    port: int
    """The node's."""
    url: str = ""
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    is_down: bool = False
    """Whether new connections are refused."""
    _swallows: int = 0

    def cut(self) -> None:
        """Reset every connection, whatever is under way on it."""
        self._swallows = 0
        for writer in list(self.open):
            writer.transport.abort()

    def swallow(self, size: int) -> None:
        """Let so many bytes on their way to the page be lost, and then cut."""
        self._swallows = size

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        self.open.add(writer)
        try:
            with suppress(OSError):
                node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.open.add(node_writer)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pass(reader, node_writer, is_down=False))
                        group.create_task(self._pass(node_reader, writer, is_down=True))
                finally:
                    self.open.discard(node_writer)
                    node_writer.transport.abort()
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_down: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if is_down and self._swallows > 0:
                    self._swallows -= len(data)
                    if self._swallows <= 0:
                        self.cut()
                        return
                    continue
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line to the node at this port, at a port of its own."""
    line = Line(port)
    server = await asyncio.start_server(line.handle, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()
