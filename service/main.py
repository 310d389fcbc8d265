"""The only wiring: from settings to a node that serves."""

import argparse
import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from service.adapters.clock import SystemClock
from service.adapters.kafka.commands import KafkaCommands
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.presence import open_presence
from service.adapters.kafka.seldom import log_seldom
from service.adapters.kafka.topic_id import read_topic
from service.adapters.postgres.cursors import PostgresCursors
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.domain.errors import LastseenError, LogUnavailable, Unavailable
from service.node.handlers import Handlers
from service.node.handlers.standard import standard_handlers
from service.node.node import Node, running
from service.node.outside import Outside
from service.ports import Access, Authenticator, Epoch
from service.settings import Settings, read_settings
from service.web.app import create_app
from service.web.server import create_server

_log = logging.getLogger(__name__)
COMMAND_PARTITIONS = 4
COMMAND_RETENTION_MS = 86_400_000
"""A day: long past the deadline of any command."""
_NEW_OBJECTS = 20_000
"""Between two garbage collections. One request of events makes thousands that live on in the window and the
look-back: at Python's own 700 collecting costs a fifth of appending over HTTP."""


async def prepare(
    *,
    kafka: str,
    database_url: str,
    partitions: int,
    replication: int,
    topic: str = "events",
    commands_topic: str = "commands",
    presence_topic: str = "presence",
) -> str:
    """Migrate the database, make the topics that are missing, and return the name of the present epoch.

    Part of topic administration: it starts a new epoch when the topic is not the one that it was.
    """
    # Not above: a node starts faster without what only administration needs.
    from service.adapters.kafka.topics import ensure_topic
    from service.adapters.postgres.schema import upgrade

    migrating = asyncio.create_task(asyncio.to_thread(upgrade, database_url))
    try:
        made = await asyncio.gather(
            ensure_topic(kafka, topic, partitions=partitions, replication=replication),
            ensure_topic(
                kafka,
                commands_topic,
                partitions=COMMAND_PARTITIONS,
                replication=replication,
                retention_ms=COMMAND_RETENTION_MS,
            ),
            ensure_topic(kafka, presence_topic, partitions=1, replication=replication, compacted=True),
            return_exceptions=True,
        )
    finally:
        await asyncio.wait([migrating])
    migrating.result()
    for one in made:
        if isinstance(one, BaseException):
            raise one
    info = await read_topic(kafka, topic)
    if info is None:
        raise LogUnavailable(f"Kafka at {kafka} does not show the topic {topic} that was just made")
    async with open_pool(database_url, size=1) as pool:
        return (await Epochs(pool).ensure(info.id, info.partitions)).name


@asynccontextmanager
async def open_node(settings: Settings, authenticator: Authenticator) -> AsyncIterator[Node]:
    """A ready node on the servers that the settings name."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            open_log(settings.kafka, settings.topic, timeout=settings.kafka_timeout_seconds)
        )
        pool = await stack.enter_async_context(open_pool(settings.database_url.get_secret_value()))
        epoch = await _current_epoch(Epochs(pool), log)
        kafka, seconds = settings.kafka, settings.kafka_timeout_seconds
        outside = Outside(
            log=log,
            history=PostgresHistory(pool, epoch.number),
            rights=PostgresRights(pool, epoch.number),
            cursors=PostgresCursors(pool),
            commands=await stack.enter_async_context(KafkaCommands(kafka, settings.commands_topic, timeout=seconds)),
            presence=await stack.enter_async_context(open_presence(kafka, settings.presence_topic, timeout=seconds)),
            authenticator=authenticator,
            clock=SystemClock(),
            authority=settings.authority or _the_log_decides,
            handlers=_handlers(settings),
        )
        yield await stack.enter_async_context(running(settings, outside, epoch))


def _the_log_decides(access: Access) -> Access:
    return access


def _handlers(settings: Settings) -> Handlers:
    """What is done about each message: the protocol's, and what the deployment adds."""
    handlers = standard_handlers()
    for extend in settings.extensions:
        extend(handlers)
    return handlers


async def _current_epoch(epochs: Epochs, log: KafkaLog) -> Epoch:
    """The epoch that positions are of; a node does not start before it knows."""
    while True:
        try:
            return await epochs.current(log.topic_id, log.partitions)
        except Unavailable as error:
            _log.warning("waiting for the epoch: %s", error)
            await asyncio.sleep(error.retry_after)


async def serve(settings: Settings, host: str, port: int) -> None:
    """Run a node and its HTTP server until SIGINT or SIGTERM."""
    if settings.jwt_secret is None:
        raise LastseenError("LASTSEEN_JWT_SECRET is not set: a node needs it to verify tokens (at least 32 bytes)")
    authenticator = TokenAuthenticator(settings.jwt_secret.get_secret_value(), None, Expected())
    async with open_node(settings, authenticator) as node:
        app = create_app(node, authenticator)
        server = create_server(app, host, port, max_message_bytes=settings.max_message_bytes, drain=node.drain)
        await server.serve()


def main() -> None:
    """`python -m service.main --host H --port P`; everything else comes from the environment."""
    parser = argparse.ArgumentParser(description="One node of Lastseen.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    log_seldom()
    gc.set_threshold(_NEW_OBJECTS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(read_settings(), arguments.host, arguments.port))
    except LastseenError as error:
        sys.exit(f"lastseen node: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
