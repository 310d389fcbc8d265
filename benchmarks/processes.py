"""The processes that are measured, started and ended by the benchmark."""

import asyncio
import ctypes
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil

from benchmarks.site import Ground, Site
from benchmarks.waiting import until
from service.adapters.tokens import issue
from service.embedded.free_ports import HOST, choose
from service.tied import tie_to_parent

SECRET = "a secret of the benchmarks, 32 bytes and more"
READY_SECONDS = 30.0
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
VIEWED = "viewed"
"""The task that a viewer watches."""


@asynccontextmanager
async def running(
    site: Site, module: str, *arguments: str, environment: Mapping[str, str] | None = None, piped: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m MODULE ARGUMENTS`, ended at the end; with `piped`, stdin and stdout are ours. It logs to a file."""
    command = (sys.executable, "-m", module, *arguments)
    async with program(site, module, *command, environment=environment, piped=piped) as process:
        yield process


@asynccontextmanager
async def program(
    site: Site, name: str, *command: str, environment: Mapping[str, str] | None = None, piped: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The same of any command, which logs to the file of that name."""
    ours = asyncio.subprocess.PIPE if piped else None
    with (site.folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=ours or asyncio.subprocess.DEVNULL,
            stdout=ours or log,
            stderr=log,
            limit=64 * 1024 * 1024,
            preexec_fn=tie_to_parent(signal.SIGKILL),
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A ready node."""

    port: int
    pid: int

    @property
    def token(self) -> str:
        """An access token that may publish and read everything."""
        return issue(SECRET, "bench", "admin", (), ("publish",), 7200, int(time.time()))

    @property
    def viewing(self) -> dict[str, object]:
        """The order for a viewer of the task VIEWED."""
        return {"host": HOST, "port": self.port, "token": self.token, "channel": f"task:{VIEWED}"}

    def cpu_seconds(self) -> float:
        """As the function of this name."""
        return cpu_seconds(self.pid)

    def memory_bytes(self) -> int:
        """What it has of the machine's memory."""
        return int(psutil.Process(self.pid).memory_info().rss)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, user and system; but on Linux, in steps of the kernel's tick."""
    if _libc is not None:
        clock = ctypes.c_int()
        if _libc.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
            raise ProcessLookupError(f"there is no process {pid}")
        return time.clock_gettime(clock.value)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def node(site: Site, ground: Ground, **settings: str) -> AsyncIterator[NodeProcess]:
    """A node on `ground`; `settings` are environment variables. It sends no heartbeat: nothing but what is measured."""
    (port,) = choose(1)
    environment = ground.environment | {
        "LASTSEEN_JWT_SECRET": SECRET,
        "LASTSEEN_HEARTBEAT_SECONDS": "3600",
        "LASTSEEN_HEARTBEAT_TIMEOUT_SECONDS": "7200",
        # All viewers are one user.
        "LASTSEEN_MAX_CONNECTIONS_PER_USER": "100000",
        **settings,
    }
    async with running(site, "service.main", "--host", HOST, "--port", str(port), environment=environment) as process:
        await _ready(process, port)
        yield NodeProcess(port, process.pid)


async def _ready(process: asyncio.subprocess.Process, port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def ready() -> bool:
            if process.returncode is not None:
                raise RuntimeError(f"the node ended with status {process.returncode}: see its log")
            try:
                return (await http.get(f"http://{HOST}:{port}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(ready, READY_SECONDS)


@asynccontextmanager
async def log_writer(site: Site, ground: Ground) -> AsyncIterator[None]:
    """A log writer on `ground`."""
    async with running(site, "consumers.log_writer", environment=ground.environment):
        yield
