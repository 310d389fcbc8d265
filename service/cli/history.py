"""`lastseen history`: what the log holds of a channel."""

from collections.abc import Sequence
from pathlib import Path

import click

from service.cli.running import run, say
from service.cli.target import Target, find_target, target_options

STDOUT = 1
_WRITTEN_AT_ONCE = 64 * 1024


@click.command()
@click.argument("channel")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type; may be repeated.")
@click.option("--since", metavar="TIME", help="Only what was appended then or later: 2026-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One event a line, with its time of appending.")
@target_options
def history(
    channel: str,
    types: Sequence[str],
    since: str | None,
    limit: int | None,
    as_json: bool,
    data_dir: Path,
    url: str | None,
    token: str | None,
) -> None:
    """Show what the log holds of task:ID, project:ID, user:ID, system or broadcast, the oldest first.

    A line for each event, then it ends; `lastseen tail` goes on. The position to go on from is shown on stderr. What
    the log has lost, or has dropped by its retention, is told on stderr, in its place.
    """
    from lastseen.channels import parse_channel
    from lastseen.envelope import Timestamp
    from pydantic import TypeAdapter, ValidationError

    try:
        parse_channel(channel)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="CHANNEL") from error
    if since is not None:
        try:
            TypeAdapter(Timestamp).validate_python(since)
        except ValidationError as error:
            problem = f"{since!r} is no time with its zone, such as 2026-01-31T12:00:00Z"
            raise click.BadParameter(problem, param_hint="--since") from error
    target = find_target(data_dir, url, token)
    run(_history(target, channel, types, since, limit, as_json=as_json))


async def _history(
    target: Target, channel: str, types: Sequence[str], since: str | None, limit: int | None, *, as_json: bool
) -> int:
    from lastseen.history import History
    from lastseen.threads import in_thread
    from pydantic_core import to_json

    from service.cli.sink import describe, line_of
    from service.running.tee import write_all

    def away(reason: str, delay: float) -> None:
        say(f"the service is away ({reason}), again in {delay:.1f} s")

    past = History(
        target.url,
        target.token,
        channel,
        types=types,
        since=since,
        newest=limit,
        on_gap=lambda gap: say(describe(gap)),
        on_retry=away,
    )
    lines = bytearray()
    async for event in past:
        lines += (to_json(event) if as_json else line_of(event).encode()) + b"\n"
        if len(lines) >= _WRITTEN_AT_ONCE:
            await in_thread(write_all, STDOUT, bytes(lines))
            lines.clear()
    await in_thread(write_all, STDOUT, bytes(lines))
    say(f"position {past.position}")
    return 0
