"""Clients of a node, and the process that they are; see `benchmarks.arrivals`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.arrivals import Arrived, Order
from benchmarks.processes import SECRET, NodeProcess, running
from benchmarks.site import Site
from service.adapters.tokens import issue
from service.embedded.free_ports import HOST

_AT_ONCE: Final = 200
"""Clients that are on their way at a time."""
_TTL: Final = 7200
_QUIET_SECONDS: Final = 2.5
"""Longer than presence waits for others who are coming."""
_QUIET: Final = 0.25
"""CPU seconds that a node uses in that time when nobody comes, or less."""


class Clients:
    """Clients that come when they are told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def come(self, port: int, heads: list[str]) -> Arrived:
        """Let them come, one with each of these heads."""
        order = Order(host=HOST, port=port, at_once=_AT_ONCE, heads=heads)
        arrived: Arrived = json.loads(await self._tell(json.dumps(order)))
        return arrived

    async def stay(self, seconds: float) -> int:
        """Let them read, and answer pings, for so long; how many pings that were."""
        return int(await self._tell(f"stay {seconds}"))

    async def cut(self) -> None:
        """Drop them all."""
        await self._tell("cut")

    async def _tell(self, line: str) -> bytes:
        assert self._process.stdin is not None, "piped"
        assert self._process.stdout is not None, "piped"
        self._process.stdin.write(line.encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the clients have ended: see the log of benchmarks.arrivals")
        return answer


@asynccontextmanager
async def arriving(site: Site) -> AsyncIterator[Clients]:
    """A process of clients."""
    async with running(site, "benchmarks.arrivals", piped=True) as process:
        yield Clients(process)


def bearer(user: str) -> str:
    """The line of a head with a token of a user's, which the node has not seen."""
    return f"Authorization: Bearer {issue(SECRET, user, '', (), (), _TTL, int(time.time()))}\r\n"


def head(port: int, query: str, more: str) -> str:
    """A hand-shake as the client in Python sends it, with `more` lines."""
    return (
        f"GET /ws?{query} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        f"Sec-WebSocket-Protocol: lastseen.v1\r\nUser-Agent: Python/3.13 websockets/15.0\r\n{more}\r\n"
    )


async def until_quiet(served: NodeProcess) -> None:
    """Wait until the node has little to do."""
    used = served.cpu_seconds()
    while True:
        await asyncio.sleep(_QUIET_SECONDS)
        before, used = used, served.cpu_seconds()
        if used - before < _QUIET:
            return
