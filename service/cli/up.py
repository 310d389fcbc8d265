"""`lastseen up`: everything on one machine, from nothing."""

import asyncio
import errno
import logging
import shutil
import signal
from collections.abc import Coroutine
from pathlib import Path

import click

from service.cli.target import DEFAULT_DATA_DIR
from service.domain.errors import LastseenError
from service.embedded.errors import EmbeddedError, StartError

NEARLY_NOTHING = 4 * 1024 * 1024


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="LASTSEEN_DATA_DIR",
    default=DEFAULT_DATA_DIR,
    show_default=True,
    show_envvar=True,
    help="Where everything is kept; made when it is missing. Another `up` on it continues the same log.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of the first node.")
@click.option("--nodes", type=click.IntRange(1, 64), default=1, show_default=True, help="Nodes, on successive ports.")
@click.option("--brokers", type=click.Choice(["1", "3"]), help="Kafka brokers of a new data directory.  [default: 1]")
@click.option("--no-welcome", is_flag=True, help="Run no welcome task on an empty log.")
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="A command that may be started as a task: `git log *` for what looks so, `git` for that program with any "
    "arguments; repeatable. Whoever may start a shell or an interpreter may do all that you may.",
)
def up(data_dir: Path, port: int, nodes: int, brokers: str | None, no_welcome: bool, allow: tuple[str, ...]) -> None:
    """Run Lastseen with a Kafka and a Postgres of its own on this machine, until Ctrl-C.

    Prints `ready http://127.0.0.1:PORT` once it serves.
    """
    # Imported here: the other commands start faster without all this.
    from service.cli.local_instance import Wanted, run
    from service.cli.shown import Shown

    if port + nodes - 1 > 65535:
        raise click.BadParameter(f"{nodes} nodes from port {port} on don't fit below 65536", param_hint="--port")
    # Whatever its client has to say, the supervisor tells it in a line that names the process and its log.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    wanted = Wanted(
        data_dir=data_dir.absolute(),
        ports=list(range(port, port + nodes)),
        brokers=int(brokers) if brokers else None,
        welcome=not no_welcome,
        allow=allow,
    )
    with Shown() as shown:
        try:
            asyncio.run(_until_signal(run(wanted, shown)))
        except (EmbeddedError, LastseenError, OSError) as error:
            raise click.ClickException(sentence(error, wanted.data_dir)) from error


async def _until_signal(running: Coroutine[None, None, None]) -> None:
    """Awaits `running` until it fails or SIGINT or SIGTERM cancels it; then its clean end is this one's."""
    task = asyncio.create_task(running)
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        # Once: a second signal must not cut off the orderly end that the first began.
        if not stopped:
            stopped = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise


def sentence(error: EmbeddedError | LastseenError | OSError, data_dir: Path) -> str:
    """What went wrong, in one sentence for the terminal."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    # A server that finds no space may die without a word of it: its log is on the same disk.
    suspect = isinstance(error, StartError) and _free(data_dir) < NEARLY_NOTHING
    if full or suspect or "No space left on device" in str(error):
        return f"The disk that holds {data_dir} is full: free some space or choose another --data-dir."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} can't be used ({error.strerror}): choose another --data-dir or mend it."
    return str(error)


def _free(data_dir: Path) -> int:
    existing = next((folder for folder in (data_dir, *data_dir.parents) if folder.exists()), Path("/"))
    return shutil.disk_usage(existing).free
