"""A running Kafka and Postgres on one machine: what `lastseen up` and the tests stand on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.embedded import free_ports, jars, orphans, postgres_home
from service.embedded.data_dir import DataDir
from service.embedded.errors import DataDirError
from service.embedded.kafka import Broker, Kafka
from service.embedded.postgres import ADMIN, Postgres, cluster_in
from service.embedded.supervisor import Supervisor

PASSWORD = "postgres-password"  # noqa: S105 (a file's name)


class Progress(Protocol):
    """Where a start tells how far it is."""

    def tell(self, line: str) -> None:
        """One line about what happens now or just happened."""

    def fetched(self, had: int, total: int) -> None:
        """`had` of `total` bytes are fetched; may come from any thread."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Running servers, and the supervisor that anything above them is to be started with."""

    supervisor: Supervisor
    kafka: str
    database_url: str
    admin_url: str
    """As the database's superuser, to its database `postgres`."""


@asynccontextmanager
async def running(
    data_dir: DataDir,
    *,
    progress: Progress,
    changed: Callable[[Mapping[str, int]], None] = lambda _pids: None,
    cache: Path | None = None,
    durable: bool = True,
) -> AsyncIterator[Stack]:
    """Starts Kafka and Postgres in `data_dir`, side by side, and stops them at the end.

    What an earlier supervisor left running there is stopped first. Those that are not `durable` soon end, and start
    and write the quicker. Raises EmbeddedError, OSError.
    """
    run_dir, logs = data_dir.folder("run"), data_dir.folder("logs")
    if stopped := await orphans.stop(run_dir):
        progress.tell(f"stopped what an earlier start left running: {', '.join(stopped)}")
    postgres, brokers = _place(data_dir, logs, durable)
    async with Supervisor(run_dir, tell=progress.tell, changed=changed) as supervisor:
        stop = threading.Event()
        fetching = asyncio.to_thread(
            jars.class_path, cache or jars.default_cache(), jars.read_lock(), progress.fetched, stop
        )
        preparing = asyncio.create_task(postgres.prepare())
        try:
            kafka = Kafka(brokers, data_dir.stamp.cluster_id, await fetching, logs, durable)
            progress.tell("starting Kafka and Postgres")
            await kafka.prepare()
            await preparing
        finally:
            # A thread can't be cancelled, only told.
            stop.set()
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
        await supervisor.start(*kafka.children(), postgres.child())
        await postgres.make_database()
        yield Stack(supervisor, kafka.bootstrap, postgres.url(), postgres.url(ADMIN, "postgres"))


def _place(data_dir: DataDir, logs: Path, durable: bool) -> tuple[Postgres, list[Broker]]:
    count = data_dir.stamp.brokers
    ports = free_ports.choose(1 + 2 * count, data_dir.stamp.ports)
    data_dir.keep_ports(ports)
    user = postgres_home.run_as()
    folder = postgres_home.cluster_folder(data_dir.path, data_dir.stamp.id, user)
    password = data_dir.path / PASSWORD
    if cluster_in(folder).exists() and not password.exists():
        # A new one would be refused, and hide that the old one is gone.
        raise DataDirError(
            f"{password} is missing, and without it nobody can log in to the database in {folder}: "
            "put it back from a copy, or choose another --data-dir."
        )
    postgres = Postgres(
        folder=folder,
        programs=postgres_home.programs(user),
        user=user,
        port=ports[0],
        password=data_dir.secret(PASSWORD),
        log=logs / "postgres.log",
        durable=durable,
    )
    brokers = [
        Broker(number, ports[2 * number - 1], ports[2 * number], data_dir.folder(f"kafka-{number}"))
        for number in range(1, count + 1)
    ]
    return postgres, brokers
