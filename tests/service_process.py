"""A node as a process of its own, with the folder by which the tools find it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.embedded.free_ports import HOST, is_free
from service.embedded.instance import Instance
from tests.module_process import ModuleProcess, start_module
from tests.waiting import until

SECRET = "a secret of the tests, at least 32 bytes"


@dataclass
class ServiceProcess:
    """`python -m service.main`, that can be killed and started again at the same address."""

    data_dir: Path
    port: int
    environment: dict[str, str]
    process: ModuleProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self, timeout: float = 90) -> None:
        """Start it and wait, at most so many seconds, until it is ready."""
        with (self.data_dir / "node.log").open("ab") as log:
            self.process = await start_module(
                *("service.main", "--host", HOST, "--port", str(self.port)),
                environment={**os.environ, **self.environment},
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        async with httpx.AsyncClient(trust_env=False) as http:

            async def ready() -> bool:
                assert self.process is not None
                assert self.process.returncode is None, (self.data_dir / "node.log").read_text()
                try:
                    return (await http.get(f"{self.url}/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready, timeout=timeout, what="the node being ready")

    async def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait until it has ended."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.wait()

    async def cli(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, str]:
        """Run `lastseen ARGUMENTS` to its end: exit code, stdout, stderr."""
        process = await self.start_cli(*arguments, stdin=asyncio.subprocess.PIPE)
        stdout, stderr = await process.communicate(stdin or b"")
        assert process.returncode is not None
        return process.returncode, stdout, stderr.decode()

    async def start_cli(
        self,
        *arguments: str,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = asyncio.subprocess.PIPE,
        stderr: int = asyncio.subprocess.PIPE,
    ) -> asyncio.subprocess.Process:
        """`lastseen ARGUMENTS --data-dir …`, started."""
        command, *rest = arguments
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", command, "--data-dir", str(self.data_dir), *rest),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            limit=16 * 1024 * 1024,
            env={k: v for k, v in os.environ.items() if not k.startswith("LASTSEEN_")},
        )


@asynccontextmanager
async def running_service(
    kafka: str, topic: str, database_url: str, epoch: str, data_dir: Path
) -> AsyncIterator[ServiceProcess]:
    """A ready node on the given servers; `data_dir` is written as `lastseen up` writes it."""
    port = next(port for port in range(20_000 + os.getpid() % 10_000, 65_536) if is_free(port))
    service = ServiceProcess(
        data_dir,
        port,
        {
            "LASTSEEN_KAFKA": kafka,
            "LASTSEEN_TOPIC": topic,
            "LASTSEEN_DATABASE_URL": database_url,
            "LASTSEEN_JWT_SECRET": SECRET,
            "INSTANCE_ID": "node-1",
        },
    )
    (data_dir / "jwt-secret").write_text(SECRET)
    Instance(service.url, [service.url], kafka, topic, database_url, epoch).write(data_dir)
    try:
        await service.start()
        yield service
    finally:
        await service.stop()
