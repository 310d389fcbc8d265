"""Which Kafka and Postgres an administrative command speaks to."""

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from service.addresses import bootstrap_servers, database_address
from service.cli.target import DEFAULT_DATA_DIR
from service.domain.errors import LastseenError
from service.embedded.errors import EmbeddedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of the servers; `database_url` is None where only Kafka is known."""

    kafka: str
    topic: str
    database_url: str | None


def with_servers(command: Callable[..., None]) -> Callable[..., None]:
    """Give a click command the options by which its first argument, the `Servers`, is found."""

    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="LASTSEEN_DATA_DIR",
        help="A local instance's folder: its servers are asked.  "
        f"[default: LASTSEEN_KAFKA if set, else {DEFAULT_DATA_DIR}]",
    )
    @click.option("--kafka", metavar="HOST:PORT,…", help="Bootstrap addresses, instead of an instance's.")
    @click.option("--database-url", metavar="URL", help="postgresql://…, instead of an instance's.")
    @click.option("--topic", help="Instead of the instance's topic.")
    @functools.wraps(command)
    def wrapped(
        data_dir: Path | None,
        kafka: str | None,
        database_url: str | None,
        topic: str | None,
        **options: object,
    ) -> None:
        try:
            servers = find_servers(data_dir, kafka, database_url, topic)
        except LastseenError as error:
            raise click.ClickException(str(error)) from error
        command(servers, **options)

    return wrapped


def find_servers(data_dir: Path | None, kafka: str | None, database_url: str | None, topic: str | None) -> Servers:
    """The servers named by the options, else by the data directory, else by the environment.

    Raises ClickException, LastseenError.
    """
    # Not above: every command would wait for the imports, and most ask no servers.
    from service.embedded import instance
    from service.settings import read_settings

    if database_url is not None:
        database_address(database_url)
    if kafka is not None:
        return Servers(bootstrap_servers(kafka), topic or read_settings().topic, database_url)
    if data_dir is None and "LASTSEEN_KAFKA" in os.environ:
        settings = read_settings()
        url = database_url or settings.database_url.get_secret_value()
        return Servers(settings.kafka, topic or settings.topic, url)
    try:
        found = instance.read(data_dir or DEFAULT_DATA_DIR)
    except EmbeddedError as error:
        raise click.ClickException(f"{error} Or name the servers with --kafka and --database-url.") from error
    return Servers(found.kafka, topic or found.topic, database_url or found.database_url)


def answer(asking: Coroutine[Any, Any, T]) -> T:
    """Run `asking`; the service's own errors end the command with their message."""
    # What its client logs, the error says in one sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(asking)
    except LastseenError as error:
        raise click.ClickException(str(error)) from error
