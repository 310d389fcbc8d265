"""One instance on this machine: servers, nodes and consumers, in the order in which they need each other."""

import asyncio
import contextlib
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from service.cli.console import link
from service.cli.first_steps import first_time, next_steps, run_welcome
from service.domain.errors import HistoryUnavailable
from service.embedded import free_ports, instance
from service.embedded.child import Child
from service.embedded.data_dir import DataDir, open_data_dir
from service.embedded.errors import StartError
from service.embedded.instance import Instance
from service.embedded.stack import Progress, Stack, running
from service.embedded.together import together
from service.settings import read_settings

RUNNER = "runner"
CONSUMERS = ("log-writer", "projections", RUNNER)
"""Each is run as the module `consumers.NAME`, its dashes being underscores there."""

TOPIC = "events"
OPEN_FILES = 1 << 20
EPOCH_SECONDS = 5.0
GRACE = 4.0
RUNNER_GRACE = 6.0
"""Time for its programs to end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `lastseen up` was asked for; `ports` are those of the nodes, `brokers` None means: as it was."""

    data_dir: Path
    ports: list[int]
    brokers: int | None
    welcome: bool
    allow: tuple[str, ...]


async def run(wanted: Wanted, progress: Progress) -> None:
    """Runs the instance until it is cancelled. Raises EmbeddedError, LastseenError, OSError."""
    partitions = read_settings().partitions
    _raise_open_files()
    with open_data_dir(wanted.data_dir, wanted.brokers) as data_dir:
        # Whoever waits for this start must not take the last one's addresses for it.
        (data_dir.path / instance.FILE_NAME).unlink(missing_ok=True)
        _check_ports(wanted.ports)
        written = _Written(data_dir.path)
        importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, "service.main"))
        try:
            async with running(data_dir, progress=progress, changed=written.changed) as stack:
                progress.tell("preparing the database and the topic")
                epoch = await (await importing).prepare(
                    kafka=stack.kafka,
                    database_url=stack.database_url,
                    topic=TOPIC,
                    partitions=partitions,
                    replication=data_dir.stamp.brokers,
                )
                await _serve(wanted, data_dir, stack, epoch, written, progress)
        finally:
            await asyncio.gather(importing, return_exceptions=True)


async def _serve(
    wanted: Wanted,
    data_dir: DataDir,
    stack: Stack,
    epoch: str,
    written: "_Written",
    progress: Progress,
) -> None:
    environment = {
        **os.environ,
        "LASTSEEN_KAFKA": stack.kafka,
        "LASTSEEN_DATABASE_URL": stack.database_url,
        # Kept, for the tools sign with it in other terminals.
        "LASTSEEN_JWT_SECRET": data_dir.secret("jwt-secret", given=os.environ.get("LASTSEEN_JWT_SECRET")),
        "LASTSEEN_TOPIC": TOPIC,
        # The tokens are the instance's own.
        "LASTSEEN_TRUST_PROJECT_CLAIMS": os.environ.get("LASTSEEN_TRUST_PROJECT_CLAIMS", "true"),
        **({"LASTSEEN_ALLOW": json.dumps(wanted.allow)} if wanted.allow else {}),
        "LASTSEEN_WORK_ROOT": os.environ.get("LASTSEEN_WORK_ROOT", str(data_dir.folder("work"))),
        # Ctrl-C stops everything within seconds, the programs that run as tasks included.
        "LASTSEEN_RUNNER_DRAIN": "cancel",
        "LASTSEEN_INTERRUPT_SECONDS": os.environ.get("LASTSEEN_INTERRUPT_SECONDS", "2"),
        "LASTSEEN_TERMINATE_SECONDS": os.environ.get("LASTSEEN_TERMINATE_SECONDS", "1"),
    }
    logs = data_dir.folder("logs")
    progress.tell("starting the service")
    await stack.supervisor.start(*(_consumer(name, environment, logs) for name in CONSUMERS))
    await stack.supervisor.start(
        *(_node(f"node-{number}", port, environment, logs) for number, port in enumerate(wanted.ports, 1))
    )
    urls = [f"http://{free_ports.HOST}:{port}" for port in wanted.ports]
    written.begin(Instance(urls[0], urls, stack.kafka, TOPIC, stack.database_url, epoch), stack.supervisor.pids)
    click.echo(f"ready {urls[0]}")
    sys.stdout.flush()
    progress.tell(await _opening(urls[0], environment["LASTSEEN_JWT_SECRET"]))
    first = first_time(data_dir)
    for line in next_steps(first and wanted.welcome):
        progress.tell(line)
    welcome = [run_welcome(data_dir, progress)] if first and wanted.welcome else []
    await together(stack.supervisor.wait(), _follow_epoch(stack.database_url, written), *welcome)


async def _opening(url: str, secret: str) -> str:
    """Where to see the console; what can't be had now can be had later."""
    try:
        return f"The console, signed in (once, within ten minutes): {await link(url, secret)}"
    except click.ClickException as error:
        return f"No link to the console now, `lastseen console` prints one: {error.message}"


async def _follow_epoch(database_url: str, written: "_Written") -> None:
    """Keep the epoch that is written down the present one: the loss detector may start another."""
    from service.adapters.postgres.epochs import Epochs
    from service.adapters.postgres.pool import open_pool

    async with open_pool(database_url, size=1) as pool:
        epochs = Epochs(pool)
        while True:
            await asyncio.sleep(EPOCH_SECONDS)
            with contextlib.suppress(HistoryUnavailable):
                written.epoch_is((await epochs.begun()).name)


class _Written:
    """Keeps `instance.json` as it is: not there before the first `ready`, then rewritten at every change."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._instance: Instance | None = None

    def begin(self, instance: Instance, pids: Mapping[str, int]) -> None:
        """From here on the file is there."""
        self._instance = instance
        self.changed(pids)

    def epoch_is(self, name: str) -> None:
        """The present epoch is this one."""
        if self._instance is not None and self._instance.epoch != name:
            self._instance.epoch = name
            self._instance.write(self._data_dir)

    def changed(self, pids: Mapping[str, int]) -> None:
        """Some process has another pid."""
        if self._instance is not None:
            self._instance.processes = {"supervisor": os.getpid(), **pids}
            self._instance.write(self._data_dir)


def _consumer(name: str, environment: Mapping[str, str], logs: Path) -> Child:
    return Child(
        name=name,
        argv=[sys.executable, "-m", f"consumers.{name.replace('-', '_')}"],
        log=logs / f"{name}.log",
        env={**environment, "INSTANCE_ID": name},
        # Its servers end with it when the supervisor is killed; there is nobody to take leave of.
        orphan_signal=signal.SIGKILL,
        grace=RUNNER_GRACE if name == RUNNER else GRACE,
    )


def _node(name: str, port: int, environment: Mapping[str, str], logs: Path) -> Child:
    return Child(
        name=name,
        argv=[sys.executable, "-m", "service.main", "--host", free_ports.HOST, "--port", str(port)],
        log=logs / f"{name}.log",
        env={**environment, "INSTANCE_ID": name},
        ready=lambda: _answers_ready(port),
        orphan_signal=signal.SIGKILL,
    )


async def _answers_ready(port: int) -> bool:
    """Whether `GET /readyz` answers 200."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(free_ports.HOST, port)
            try:
                writer.write(f"GET /readyz HTTP/1.0\r\nHost: {free_ports.HOST}:{port}\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _check_ports(ports: list[int]) -> None:
    for port in ports:
        if not free_ports.is_free(port):
            raise StartError(f"Port {port} of {free_ports.HOST} is taken: stop what listens there or choose --port.")


def _raise_open_files() -> None:
    """As many open files as this process may have, for itself and what it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    # Only root may pass the hard limit, and some systems take no more than 10240 whatever that says.
    raised = hard if hard == endless else max(hard, OPEN_FILES)
    for limits in ((OPEN_FILES, raised), (hard, hard), (10240, hard)):
        if soft != endless and (limits[0] > soft or limits[0] == endless):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                return
