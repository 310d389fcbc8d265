"""The only wiring: from settings to a node that serves."""

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import asyncpg

from service.adapters.clock import SystemClock
from service.adapters.kafka.command_reader import read_commands
from service.adapters.kafka.commands import KafkaCommands
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.presence import open_presence
from service.adapters.kafka.seldom import log_seldom
from service.adapters.postgres.cursors import PostgresCursors
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.oversight import PostgresOversight
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.adapters.postgres.tickets import SIGNING_IN, PostgresTickets
from service.adapters.sends import sends
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.adapters.tokens.issuer import SecretIssuer
from service.adapters.tokens.published import PublishedKeys
from service.deployed import authority_of, extend
from service.domain.errors import EpochEnded, HistoryUnavailable, LastseenError, OffsetsGone, Unavailable
from service.domain.limits import Allowed, Limits
from service.garbage import look_through, set_aside
from service.gc_pauses import noted_pauses
from service.loss_detector import LossDetector
from service.node.handlers.standard import standard_handlers
from service.node.known_log import NodeKnownLog
from service.node.node import Node, running
from service.node.outside import Outside
from service.ports import Authenticator, Epoch
from service.redacting import Redacting
from service.screens import TerminalScreens
from service.settings import Settings, read_settings
from service.web.app import create_app
from service.web.door import Door
from service.web.host import Host
from service.web.server import create_server
from service.web.sign_in import SignIn

_log = logging.getLogger(__name__)
_EPOCH_SECONDS = 2.0
"""How often a node asks whether its epoch is still the present one."""


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
    from service.adapters.kafka.instance_topics import TopicNames, ensure_instance_topics
    from service.adapters.postgres.schema import upgrade

    migrating = asyncio.create_task(asyncio.to_thread(upgrade, database_url))
    try:
        names = TopicNames(topic, commands_topic, presence_topic)
        info = await ensure_instance_topics(kafka, names, partitions=partitions, replication=replication)
    finally:
        await asyncio.wait([migrating])
    migrating.result()
    async with open_pool(database_url, size=1) as pool:
        return (await Epochs(pool).ensure(info.id, info.partitions)).name


@asynccontextmanager
async def open_node(settings: Settings, authenticator: Authenticator) -> AsyncIterator[Node]:
    """A ready node on the servers that the settings name.

    Where the body ends because offsets are gone, it stays until it is known whether Kafka has lost them, and has
    started a new epoch if so: nobody else may know how far this node had read.
    """
    async with (
        open_log(
            settings.kafka,
            settings.topic,
            timeout=settings.kafka_timeout_seconds,
            linger=settings.append_linger_seconds,
        ) as log,
        open_pool(settings.database_url.get_secret_value()) as pool,
    ):
        epochs = Epochs(pool)
        epoch = await _current_epoch(epochs, log)
        node: Node | None = None
        try:
            async with _running(settings, authenticator, log, pool, epochs, epoch) as node:
                yield node
        except EpochEnded:
            raise
        except OffsetsGone as error:
            if node is not None:
                _log.error("no client is served until it is known whether Kafka has lost records: %s", error)
                known = NodeKnownLog(node.services.window)
                await LossDetector(log, log.leaders, known, epochs, epoch, settings.loss_seconds).settle()
            raise


@asynccontextmanager
async def _running(
    settings: Settings, authenticator: Authenticator, log: KafkaLog, pool: asyncpg.Pool, epochs: Epochs, epoch: Epoch
) -> AsyncIterator[Node]:
    kafka, seconds = settings.kafka, settings.kafka_timeout_seconds
    send_all, how = sends(native=settings.native_sends)
    _log.info("live frames are sent %s", how)
    async with (
        KafkaCommands(kafka, settings.commands_topic, timeout=seconds) as commands,
        open_presence(kafka, settings.presence_topic, timeout=seconds) as presence,
    ):
        outside = Outside(
            log=log,
            history=PostgresHistory(pool, epoch.number),
            rights=PostgresRights(pool, epoch.number),
            cursors=PostgresCursors(pool, settings.cursor_rest),
            commands=commands,
            command_source=lambda reach: read_commands(kafka, settings.commands_topic, reach, timeout=seconds),
            leases=PostgresLeases(pool),
            oversight=PostgresOversight(pool, epoch.number),
            presence=presence,
            authenticator=authenticator,
            clock=SystemClock(),
            screens=TerminalScreens(),
            send_all=send_all,
            authority=authority_of(settings.authority),
            handlers=extend(standard_handlers(), settings.extensions),
        )
        async with running(settings, outside, epoch, [lambda: _watch(epochs, epoch)]) as node:
            yield node


async def _watch(epochs: Epochs, epoch: Epoch) -> NoReturn:
    """Raises EpochEnded once another epoch is the present one; while Postgres is away nobody can tell."""
    while True:
        await asyncio.sleep(_EPOCH_SECONDS)
        try:
            await epochs.check(epoch)
        except HistoryUnavailable as error:
            _log.debug("can't ask for the epoch: %s", error)


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """What tells who may come in. Raises LastseenError where the settings name nothing to verify tokens with."""
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret is not None else None
    if secret is None and settings.jwks_url is None:
        raise LastseenError(
            "neither LASTSEEN_JWT_SECRET nor LASTSEEN_JWKS_URL is set: a node needs one to verify tokens "
            "(a secret has at least 32 bytes)"
        )
    expected = Expected(settings.jwt_audience, settings.jwt_issuer, settings.jwt_leeway_seconds)
    async with AsyncExitStack() as stack:
        keys: PublishedKeys | None = None
        if settings.jwks_url is not None:
            # Not above: only who needs it waits for the import.
            from service.adapters.tokens.fetching import open_published_keys

            keys = await stack.enter_async_context(
                open_published_keys(
                    settings.jwks_url,
                    refresh_seconds=settings.jwks_refresh_seconds,
                    max_age_seconds=settings.jwks_max_age_seconds,
                )
            )
        # Connections of their own: whoever comes in does not wait behind replays.
        pool = await stack.enter_async_context(open_pool(settings.database_url.get_secret_value(), size=2))
        most = settings.max_tickets_per_user
        codes = PostgresTickets(pool, seconds=settings.sign_in_seconds, most=most, kind=SIGNING_IN)
        yield Door(
            TokenAuthenticator(secret, keys, expected),
            PostgresTickets(pool, seconds=settings.ticket_seconds, most=most),
            Limits(_allowed(settings)),
            frozenset(settings.allowed_origins),
            None if secret is None else SignIn(codes, SecretIssuer(secret, expected), settings.session_seconds),
        )


def _allowed(settings: Settings) -> Allowed:
    return Allowed(
        connections_per_user=settings.max_connections_per_user,
        connections_per_address=settings.max_connections_per_address,
        messages_per_user=settings.messages_per_second_per_user,
        messages_per_address=settings.messages_per_second_per_address,
        failures_per_address=settings.failures_per_second_per_address,
        tickets_per_user=settings.tickets_per_second,
    )


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
    async with open_door(settings) as door, open_node(settings, door.authenticator) as node:
        with noted_pauses() as pauses:
            server = create_server(
                create_app(node, door, pauses),
                host,
                port,
                max_message_bytes=settings.max_message_bytes,
                drain=node.drain,
                allowed_hosts=settings.allowed_hosts,
                trusted_proxies=settings.trusted_proxies,
                head_seconds=settings.request_head_seconds,
                sockets=Host(node, door, settings.max_message_bytes) if settings.direct_writes else None,
                in_turn=node.services.pace.in_turn,
            )
            looking = asyncio.create_task(look_through(node.leftovers.count, node.services.pace.quiet), name="garbage")
            try:
                await server.serve()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


def main() -> None:
    """`python -m service.main --host H --port P`; everything else comes from the environment."""
    parser = argparse.ArgumentParser(description="One node of Lastseen.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        _log_to_stderr(settings.log_level)
        with set_aside(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings, arguments.host, arguments.port))
    except LastseenError as error:
        sys.exit(f"lastseen node: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # Of the handlers that there are now.
    log_seldom()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
