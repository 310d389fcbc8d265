"""The peers of the fan-out as processes, and what a subscriber of each gets; the programs are in `benchmarks.peers`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from lastseen.record import NewRecord

from benchmarks.nodejs import NoNodeJs, installed
from benchmarks.peers.served import WELCOME
from benchmarks.processes import cpu_seconds, program
from benchmarks.site import Site

PROGRAMS: Final = Path(__file__).with_name("peers")
_READY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Peer:
    """How a peer is started, and how its clients begin: at `target`, they say `says` and are ready at `hears`."""

    name: str
    told: str
    command: Sequence[str]
    target: str = "/ws"
    says: str | None = None
    hears: str = WELCOME
    payload: Callable[[str], str] = str
    """What a client gets for a text, less its frame."""

    @property
    def greeting(self) -> dict[str, object]:
        """The part of a sink's order."""
        return {"target": self.target, "says": self.says, "hears": self.hears}


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """A peer that listens."""

    peer: Peer
    port: int
    process: asyncio.subprocess.Process

    async def send(self, records: Sequence[NewRecord]) -> int:
        """Has it send the texts of a burst; how many bytes each of its clients is to get."""
        texts = [record.value.decode() for record in records]
        assert self.process.stdin is not None, "piped"
        self.process.stdin.write(json.dumps(texts).encode() + b"\n")
        await self.process.stdin.drain()
        return sum(_framed(len(self.peer.payload(text).encode())) for text in texts)

    def cpu_seconds(self) -> float:
        """As the function of this name."""
        return cpu_seconds(self.process.pid)


async def peers(site: Site) -> list[Peer]:
    """Those that can run here; of one that can't it is told why."""
    uvicorn = f"uvicorn {version('uvicorn')}, websockets-sansio"
    found = [
        Peer("starlette", f"Starlette {version('starlette')} send_text, {uvicorn}", _python("starlette_text")),
        Peer(
            "socket.io",
            f"python-socketio {version('python-socketio')} emit to a room, {uvicorn}",
            _python("socket_io"),
            target="/socket.io/?EIO=4&transport=websocket",
            says="40",
            hears="40",
            payload=_socket_io,
        ),
    ]
    try:
        script = await installed(PROGRAMS, "ws.mjs", site.folder / "peers")
    except NoNodeJs as error:
        site.tell(f"peers: without ws of Node.js: {error}")
    else:
        pinned = json.loads((PROGRAMS / "package.json").read_text())["dependencies"]["ws"]
        found.append(Peer("ws", f"ws {pinned} of Node.js {script.version}", (script.node, str(script.path))))
    return found


def _python(module: str) -> Sequence[str]:
    return (sys.executable, "-m", f"benchmarks.peers.{module}")


def _socket_io(text: str) -> str:
    # A message (4) that is an event (2): its name, and its argument written anew.
    return "42" + json.dumps(["event", json.loads(text)], separators=(",", ":"))


def _framed(size: int) -> int:
    """The bytes of a server's frame around a payload."""
    return size + (2 if size < 126 else 4 if size < 65_536 else 10)


@asynccontextmanager
async def peer_process(site: Site, peer: Peer) -> AsyncIterator[PeerProcess]:
    """The peer, listening."""
    async with program(site, peer.name, *peer.command, piped=True) as process:
        assert process.stdout is not None, "piped"
        async with asyncio.timeout(_READY_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{peer.name} has ended: see its log")
        yield PeerProcess(peer, int(line), process)
