"""A real PostgreSQL on the loopback address, run from the programs of a wheel."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from service.embedded.child import Child, log_size, reason
from service.embedded.errors import StartError
from service.embedded.free_ports import HOST

ADMIN = "postgres"
OWNER = "lastseen"
DATABASE = "lastseen"

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # A replay may touch many day partitions in one transaction.
    "max_locks_per_transaction": "256",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}

# For tests: what a crash of the machine would lose is nobody's.
_NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster in `folder`, which belongs to `user` = (uid, gid), or to this process's user."""

    folder: Path
    programs: Path
    user: tuple[int, int] | None
    port: int
    password: str
    log: Path
    durable: bool = True

    def url(self, role: str = OWNER, database: str = DATABASE) -> str:
        """`postgresql://` URL of `database` as `role`: OWNER, or ADMIN, who may do everything."""
        return f"postgresql://{role}:{quote(self.password, safe='')}@{HOST}:{self.port}/{database}"

    @property
    def _cluster(self) -> Path:
        return cluster_in(self.folder)

    async def prepare(self) -> None:
        """Makes the cluster when there is none. Raises StartError, OSError."""
        if not self._cluster.exists():
            await self._make_cluster()
        self._unblock()

    def child(self) -> Child:
        """What to run; ready when it answers to the password."""
        settings = {**_SETTINGS, "port": str(self.port), **({} if self.durable else _NOT_DURABLE)}
        return Child(
            name="postgres",
            argv=[
                str(self.programs / "postgres"),
                "-D",
                str(self._cluster),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self.log,
            env=_environment(),
            ready=self._ready,
            # "Fast": clients are cut off, the shutdown is a clean one.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            user=self.user,
        )

    async def make_database(self) -> None:
        """Makes the role OWNER and its DATABASE, on the running server, when they are missing. Raises StartError."""
        try:
            await self._make_database()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StartError(f"Postgres could not make its database: {error} (log: {self.log})") from error

    async def _make_database(self) -> None:
        admin = await asyncpg.connect(self.url(ADMIN, "postgres"))
        try:
            if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", OWNER):
                # The alphabet of the generated password needs no quoting inside a literal.
                await admin.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{self.password}'")
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await admin.close()

    async def _make_cluster(self) -> None:
        # Made beside its place and renamed: what an interrupted start leaves is never taken for a cluster.
        temporary = self.folder / "data.new"
        await asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True)
        password = self.folder / "password"
        try:
            with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(self.password)
            if self.user is not None:
                os.chown(password, *self.user)
            await self._initdb(temporary, password)
        finally:
            password.unlink(missing_ok=True)
        temporary.rename(self._cluster)

    async def _initdb(self, target: Path, password: Path) -> None:
        start = log_size(self.log)
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                str(self.programs / "initdb"),
                f"--pgdata={target}",
                f"--username={ADMIN}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *([] if self.durable else ["--no-sync"]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd="/",
                user=None if self.user is None else self.user[0],
                group=None if self.user is None else self.user[1],
                extra_groups=None if self.user is None else [],
            )
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
        if status != 0:
            raise StartError(f"Postgres could not make its cluster{reason(self.log, start)}")

    def _unblock(self) -> None:
        """Removes the pid file of a server that is gone, when its number is another program's now.

        Postgres itself would take any living process of that number for its own predecessor. When there is no such
        process, it checks by shared memory that really nobody is left, so the file is left to it.
        """
        path = self._cluster / "postmaster.pid"
        try:
            process = psutil.Process(int(path.read_text().splitlines()[0]))
            if process.name() != "postgres":
                path.unlink()
        except (FileNotFoundError, psutil.NoSuchProcess, IndexError, ValueError):
            return

    async def _ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url(ADMIN, "postgres"), timeout=2)
            await connection.close(timeout=2)
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise StartError(
                f"Postgres in {self.folder} does not take the password that is kept for it ({error}): "
                "put back the `postgres-password` it was made with, or choose another --data-dir."
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            # It isn't there yet, or went away in the middle of the hand-shake.
            return False
        return True


def cluster_in(folder: Path) -> Path:
    """Where the cluster of `folder` is, once it is made."""
    return folder / "data"


def _environment() -> dict[str, str]:
    """This process's, less what would steer Postgres."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
