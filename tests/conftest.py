"""Real servers for the tests: one Kafka broker and one Postgres, started by the suite, once a session."""

import asyncio
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from xdist.remote import Producer

from service.embedded.data_dir import open_data_dir
from service.embedded.stack import Stack, running
from tests.driven import driven
from tests.javascript.node import built, console, package
from tests.scheduling import Scheduling
from tests.waiting import until

__all__ = [
    "built",
    "console",
    "driven",
    "package",
]  # fixtures, for whoever drives a whole instance, or the JavaScript client

PARTITIONS = 4
BYTECODE = Path(__file__).parents[1] / ".dev" / "bytecode"


def pytest_configure() -> None:
    """Keep bytecode in a folder of its own where none is wanted beside the sources, as in many containers.

    Without any, each of the hundreds of processes compiles all that it imports, which takes it another second. What is
    set here holds for the workers and for all that they start. And no example of Hypothesis is timed.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        sys.pycache_prefix, sys.dont_write_bytecode = os.environ["PYTHONPYCACHEPREFIX"], False
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("suite", hypothesis.settings.default, deadline=None)
    hypothesis.settings.load_profile("suite")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """How the workers share the tests, unless another way is asked for."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


class Told:
    """Says on stderr what the servers of a suite do by themselves, such as coming back after a crash."""

    def tell(self, line: str) -> None:
        print(line, file=sys.stderr)

    def fetched(self, had: int, total: int) -> None:
        if had == total:
            print(f"fetched {total / 1e6:.0f} MB of Kafka's jars", file=sys.stderr)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder of the session that other users may pass through, unlike `tmp_path`, as Postgres has to under root."""
    folder = Path(tempfile.mkdtemp(prefix="lastseen-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def servers(open_folder: Path) -> AsyncIterator[Stack]:
    """The running Kafka and Postgres."""
    with open_data_dir(open_folder / "servers") as data_dir:
        async with running(data_dir, progress=Told(), durable=False) as stack:
            yield stack


@pytest.fixture(scope="session")
def kafka(servers: Stack) -> str:
    """The bootstrap address of a real broker."""
    return servers.kafka


@pytest.fixture(scope="session")
def postgres_url(servers: Stack) -> str:
    """`postgresql://` URL of a real server, as its superuser, to the database `postgres`."""
    return servers.admin_url


@pytest.fixture(scope="session")
async def _template(postgres_url: str, servers: Stack) -> str:
    """Name of a database with today's schema, to copy from."""
    from service.adapters.postgres.schema import upgrade

    name = "template_lastseen"
    await _execute(postgres_url, f"CREATE DATABASE {name} OWNER lastseen")
    await asyncio.to_thread(upgrade, _to_database(servers.database_url, name))
    return name


@pytest.fixture
async def database(postgres_url: str, servers: Stack, _template: str) -> AsyncIterator[str]:
    """`postgresql://` URL of a migrated database of this test's own, as the role that the service uses."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {_template} OWNER lastseen STRATEGY file_copy")
    yield _to_database(servers.database_url, name)
    await _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def topic(kafka: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A topic of this test's own, with PARTITIONS partitions.

    Another number: `@pytest.mark.parametrize("topic", [12], indirect=True)`.
    """
    name = f"test-{uuid.uuid4().hex}"
    partitions = getattr(request, "param", PARTITIONS)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        created = await admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})]
        )
        assert all(error[1] == 0 for error in created.topic_errors), created.topic_errors

        async def led() -> bool:
            (described,) = await admin.describe_topics([name])
            found = described["partitions"]
            return len(found) == partitions and all(one["leader"] >= 0 for one in found)

        await until(led, what=f"every partition of {name} having a leader")
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _to_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
