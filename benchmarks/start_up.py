"""Starting: seconds until `lastseen up` is ready, against a Kafka alone; both with everything fetched before."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from benchmarks.measured import Row, in_turn, paired
from benchmarks.site import Site
from benchmarks.waiting import until
from service.embedded import jars
from service.embedded.data_dir import Stamp
from service.embedded.free_ports import choose
from service.embedded.kafka import Broker, Kafka
from service.tied import tie_to_parent

READY_SECONDS = 60.0


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    class_path = await asyncio.to_thread(jars.class_path, jars.default_cache(), jars.read_lock(), site.fetched)

    async def up() -> tuple[float, float]:
        folder = site.folder / f"up-{uuid4().hex}"
        async with _up(folder) as first:
            pass
        async with _up(folder) as second:
            pass
        return first, second

    async def bare() -> tuple[float, float]:
        folder = site.folder / f"kafka-{uuid4().hex}"
        folder.mkdir()
        port, controller = choose(2)
        kafka = Kafka([Broker(1, port, controller, folder)], Stamp().cluster_id, class_path, folder)
        started = time.perf_counter()
        await kafka.prepare()
        formatted = time.perf_counter() - started
        async with _broker(kafka) as fresh:
            pass
        async with _broker(kafka) as again:
            pass
        return formatted + fresh, again

    ours, limit = await in_turn(min(site.pairs, 3), up, bare)
    return [
        Row(
            "start-up",
            f"`lastseen up` to ready, {which}",
            "s",
            f"Kafka alone, {what}, to the answer that names its broker",
            paired([one[at] for one in ours], [one[at] for one in limit]),
        )
        for at, (which, what) in enumerate(
            (("on a new data directory", "formatted and started"), ("on one that has been used", "started again"))
        )
    ]


@asynccontextmanager
async def _up(folder: Path) -> AsyncIterator[float]:
    """A running instance, and the seconds that it took to be ready."""
    (port,) = choose(1)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "up", "--data-dir", str(folder), "--port", str(port), "--no-welcome"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=tie_to_parent(signal.SIGTERM),
    )
    try:
        assert process.stdout is not None, "piped"
        async with asyncio.timeout(READY_SECONDS):
            said = await process.stdout.readline()
        seconds = time.perf_counter() - started
        if not said.startswith(b"ready "):
            raise RuntimeError(f"`lastseen up` did not get ready: see {folder}/logs")
        yield seconds
    finally:
        await _end(process)


@asynccontextmanager
async def _broker(kafka: Kafka) -> AsyncIterator[float]:
    """The running broker, and the seconds that it took to answer."""
    (child,) = kafka.children()
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *child.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=child.env,
        preexec_fn=tie_to_parent(signal.SIGTERM),
    )
    try:
        assert child.ready is not None, "a broker says when it is"
        await until(child.ready, READY_SECONDS)
        yield time.perf_counter() - started
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()
