"""A real Kafka (KRaft) of one or three brokers on the loopback address."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from service.embedded import java
from service.embedded.child import Child, log_size, reason
from service.embedded.errors import StartError
from service.embedded.free_ports import HOST
from service.embedded.together import together

# What the environment may hold for other Java programs must not reach the brokers.
_NOT_FOR_BROKERS = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}

# The last three: without them a broker that was killed takes 11 s to come back, with them 3 s.
_SMALL = """\
auto.create.topics.enable=false
delete.topic.enable=true
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=2
background.threads=2
controlled.shutdown.enable=true
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker, which is a controller too; `folder` holds its properties and its data."""

    number: int
    port: int
    controller_port: int
    folder: Path

    @property
    def name(self) -> str:
        return f"kafka-{self.number}"

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers of one cluster and the jars that run them."""

    brokers: list[Broker]
    cluster_id: str
    jars: list[Path]
    logs: Path
    durable: bool = True
    """Whether it is to last: one that does not is up earlier, and takes longer for what it does."""

    @property
    def bootstrap(self) -> str:
        """`host:port,…` of all brokers."""
        return ",".join(f"{HOST}:{broker.port}" for broker in self.brokers)

    async def prepare(self) -> None:
        """Writes the brokers' properties and formats what was not. Raises StartError, OSError."""
        for broker in self.brokers:
            broker.folder.mkdir(mode=0o700, exist_ok=True)
            broker.properties.write_text(self._properties(broker))
        new = [one for one in self.brokers if not (one.folder / "data" / "meta.properties").exists()]
        await together(*(self._format(broker) for broker in new))

    def children(self) -> list[Child]:
        """What to run; each is ready when the whole cluster answers."""
        ready = _ready(self.bootstrap, len(self.brokers))
        return [
            Child(
                name=broker.name,
                argv=java.command(self.jars, "kafka.Kafka", str(broker.properties), short_lived=not self.durable),
                log=self.logs / f"{broker.name}.log",
                env=_environment(),
                ready=ready,
                stop_signal=signal.SIGTERM,
                # The last ones of several find no quorum to take leave of, and would wait for it.
                grace=4.0 if len(self.brokers) == 1 else 2.0,
            )
            for broker in self.brokers
        ]

    def _properties(self, broker: Broker) -> str:
        copies = len(self.brokers)
        in_sync = min(copies, 2)
        voters = ",".join(f"{one.number}@{HOST}:{one.controller_port}" for one in self.brokers)
        return f"""\
process.roles=broker,controller
node.id={broker.number}
controller.quorum.voters={voters}
listeners=BROKER://{HOST}:{broker.port},CONTROLLER://{HOST}:{broker.controller_port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={broker.folder / "data"}
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
{_SMALL}"""

    async def _format(self, broker: Broker) -> None:
        log = self.logs / f"{broker.name}.log"
        start = log_size(log)
        arguments = ("format", f"--cluster-id={self.cluster_id}", "--config", str(broker.properties))
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *java.command(self.jars, "kafka.tools.StorageTool", *arguments, "--ignore-formatted", short_lived=True),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
            try:
                status = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
        if status != 0:
            raise StartError(f"{broker.name} could not be formatted{reason(log, start)}")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_BROKERS}


def _ready(bootstrap: str, brokers: int) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        # Bare connections first: a client that finds nobody listening writes it to its log as an error.
        for address in bootstrap.split(","):
            host, _, port = address.partition(":")
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                return False
            writer.close()
        return await _brokers_known(bootstrap) == brokers

    return ready


async def _brokers_known(bootstrap: str) -> int:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    except KafkaError:
        return 0
    finally:
        await client.close()
