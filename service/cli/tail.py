"""`lastseen tail`: a channel as it goes on, from any place, over every interruption."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli.running import BROKEN_PIPE, run, say
from service.cli.target import Target, find_target, target_options

if TYPE_CHECKING:
    from lastseen.client import Client
    from lastseen.place import Place
    from lastseen.stream import Item, Stream

    from service.cli.sink import Sink

STDOUT = 1
STOP_SECONDS = 2.0
"""How long a reader of our output may take with what is being written when we are told to stop."""


@click.command()
@click.argument("channel")
@click.option("--after", metavar="POSITION", help="Begin after this position, or with the word `earliest`.")
@click.option("--json", "as_json", is_flag=True, help="One event a line, with the `position` to resume after it.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Keep the place in this file; it beats --after."
)
@target_options
def tail(
    channel: str,
    after: str | None,
    as_json: bool,
    save: Path | None,
    data_dir: Path,
    url: str | None,
    token: str | None,
) -> None:
    """Follow task:ID, project:ID, user:ID, system or broadcast.

    A task is shown from its start, any other channel from now on, unless --after or --save say otherwise.
    Of a task the raw output of its program is written to stdout, all streams in the order of the log, and
    the command ends with 0 when the task has ended. When it ends, for whatever reason, the position to go on
    from is shown on stderr.

    `lastseen tail task:T --save F >> out` may be killed at any instant and started again: `out` gets each
    byte once. This needs `out` to be a regular file that nothing else writes to. Where the output is a pipe
    or a terminal, what was written in the tenth of a second before a kill -9 may be written again. (With
    --json, lines written after the last save are taken back from the file and written anew.)
    """
    from lastseen.channels import parse_channel
    from lastseen.place import PlaceError, load
    from lastseen.positions import Position

    try:
        kind = parse_channel(channel).kind
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="CHANNEL") from error
    if after is not None:
        try:
            Position.parse(after)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--after") from error
    mode = "json" if as_json else "raw"
    try:
        place = None if save is None else load(save, channel, mode)
    except (PlaceError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--save") from error
    if save is not None and not save.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {save.parent}", param_hint="--save")
    target = find_target(data_dir, url, token)
    start = place.position if place is not None else after or ("earliest" if kind == "task" else None)
    run(_tail(target, channel, start, mode, place, save))


async def follow(target: Target, channel: str, after: str) -> int:
    """Write what the programs of a channel have written behind a position to stdout; 0 when its task has ended."""
    return await _tail(target, channel, after, "raw", None, None)


async def _tail(
    target: Target, channel: str, start: str | None, mode: str, place: "Place | None", file: Path | None
) -> int:
    from lastseen.backoff import Backoff
    from lastseen.client import Client

    sink = _open_sink(channel, start, mode, place, file)
    try:
        sink.begin()
        client = Client(
            target.url,
            target.token,
            auto_ack=False,  # looking on takes nobody's messages
            backoff=Backoff(cap=5.0),
            on_interruption=_interrupted,
        )
        if start is None and channel.startswith("user:"):
            start = await _now(client, channel)
        async with client:
            await _follow(client.subscribe(channel, after=start), sink)
        code = 0
    except BrokenPipeError:
        code = BROKEN_PIPE
    except OSError as error:
        raise click.ClickException(f"the output can't be written: {error}") from error
    finally:
        if sink.position is not None:
            say(f"position {sink.position}")
    return code


def _open_sink(channel: str, start: str | None, mode: str, place: "Place | None", file: Path | None) -> "Sink":
    from lastseen.place import Place

    from service.cli.sink import Json, Lines, Raw, Sink, cut_surplus, trimmer_of

    resumed = place is not None
    place = place or Place(channel, mode, start or "")
    if mode == "json":
        if resumed:
            cut_surplus(place, STDOUT)
        return Sink(STDOUT, Json(), place, file)
    trimmer = trimmer_of(place, STDOUT)
    form = Raw(trimmer, say) if channel.startswith("task:") else Lines(trimmer)
    return Sink(STDOUT, form, place, file, trimmer)


async def _now(client: "Client", channel: str) -> str | None:
    """The end of the log: without a start the own user channel would begin with what came while the user was away."""
    past = client.history(channel, newest=1, on_retry=_interrupted)
    async for _ in past:
        pass
    return past.position


async def _follow(stream: "Stream", sink: "Sink") -> None:
    from service.cli.sink import SAVE_SECONDS

    try:
        while True:
            try:
                async with asyncio.timeout(SAVE_SECONDS):
                    if not await stream.wait():
                        break
            except TimeoutError:
                sink.save_if_due()
                continue
            await _write(sink, stream.take())
        sink.save(closed=True)
    except asyncio.CancelledError:
        sink.save(closed=True)
        raise


async def _write(sink: "Sink", items: Sequence["Item"]) -> None:
    from lastseen.notices import Gap
    from lastseen.threads import in_thread

    from service.cli.sink import describe

    for item in items:
        if isinstance(item, Gap):
            say(describe(item))
    writing = asyncio.ensure_future(in_thread(sink.write, items))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        sink.stopped = True
        done, _ = await asyncio.wait((writing,), timeout=STOP_SECONDS)
        if not done:
            # Nobody reads what we write: the place is what was last saved, and the write dies with us.
            say(f"position {sink.position}")
            os._exit(1)
        writing.exception()  # we are stopping: how the write ended changes nothing
        raise


def _interrupted(reason: str, delay: float) -> None:
    say(f"interrupted ({reason}), back in {delay:.1f} s")
