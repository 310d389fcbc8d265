"""`lastseen publish`: events from options or from NDJSON on stdin."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click

from service.cli.running import run, say
from service.cli.target import Target, find_target, target_options

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_UNANSWERED = 2_000


@click.command()
@click.option("--type", "type_", help="The event's type. Without it, events are read from stdin.")
@click.option("--category", type=click.Choice(["task", "project", "system", "user"]))
@click.option("--task", help="task_id")
@click.option("--project", help="project_id")
@click.option("--user", help="user_id")
@click.option("--target-user", help="target_user_id")
@click.option("--data", help="A JSON object.")
@click.option("--priority", type=int)
@click.option("--ttl", type=int, help="Seconds for which a replay still delivers it.")
@click.option("--id", "id_", help="The event's id; publishing it again makes no second event.")
@target_options
def publish(data_dir: Path, url: str | None, token: str | None, type_: str | None, **options: Any) -> None:
    """Publish one event from options, or the events on stdin, one JSON object a line.

    Prints an answer a line, in order: `id`, `partition`, `offset`, `duplicate`. A line that is refused is
    answered with its number and `error`; the others go on, and the exit code is 1 at the end.
    """
    fields = _fields(type_, options)
    target = find_target(data_dir, url, token)
    run(_publish_one(target, fields) if fields is not None else _publish_stdin(target))


def _fields(type_: str | None, options: Mapping[str, Any]) -> dict[str, Any] | None:
    from pydantic_core import from_json

    names = {
        "category": "category",
        "task": "task_id",
        "project": "project_id",
        "user": "user_id",
        "target_user": "target_user_id",
        "priority": "priority",
        "ttl": "ttl",
        "id_": "id",
        "data": "data",
    }
    given = {names[name]: value for name, value in options.items() if value is not None}
    if type_ is None:
        if given:
            raise click.UsageError("an event from options needs --type; without any, events are read from stdin")
        return None
    if "data" in given:
        try:
            given["data"] = from_json(given["data"], allow_inf_nan=False)
        except ValueError as error:
            raise click.BadParameter(f"no JSON: {error}", param_hint="--data") from error
        if not isinstance(given["data"], dict):
            raise click.BadParameter("data is a JSON object: {…}", param_hint="--data")
    return {"type": type_, **given}


def _away(reason: str, delay: float) -> None:
    say(f"lastseen publish: the service is away ({reason}), again in {delay:.1f} s")


async def _publish_one(target: Target, fields: dict[str, Any]) -> int:
    from dataclasses import asdict

    from lastseen.publisher import Publisher
    from pydantic_core import to_json

    async with Publisher(target.url, target.token, linger=0, on_retry=_away) as publisher:
        click.echo(to_json(asdict(await publisher.publish(fields))))
    return 0


async def _publish_stdin(target: Target) -> int:
    """Publishes line after line; what is published and not yet printed is bounded, then reading waits."""
    from lastseen.answers import Place
    from lastseen.errors import BadRequest
    from lastseen.publisher import Publisher, decode

    answers: asyncio.Queue[tuple[int, asyncio.Future[Place]] | None] = asyncio.Queue(MAX_UNANSWERED)
    async with Publisher(target.url, target.token, on_retry=_away) as publisher:
        printing = asyncio.create_task(_print_answers(answers))
        try:
            number = 0
            async for line in _lines():
                number += 1
                if not line.strip():
                    continue
                try:
                    place = await publisher.submit_json(*decode(line))
                except BadRequest as error:
                    place = asyncio.get_running_loop().create_future()
                    place.set_exception(error)
                await _put(answers, (number, place), printing)
            await _put(answers, None, printing)
            return await printing
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)


async def _put(answers: "asyncio.Queue[Any]", item: object, printing: "asyncio.Task[int]") -> None:
    """Put, unless the printer has given up: then what it raised."""
    putting = asyncio.ensure_future(answers.put(item))
    try:
        await asyncio.wait((putting, printing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        putting.cancel()
    if printing.done() and not printing.cancelled() and (error := printing.exception()) is not None:
        raise error


async def _print_answers(answers: "asyncio.Queue[Any]") -> int:
    """Print each answer as it comes, in order. Raises what makes every further line pointless."""
    from dataclasses import asdict

    from lastseen.errors import AuthenticationFailed, LastseenError
    from pydantic_core import to_json

    code = 0
    while True:
        if answers.empty():
            sys.stdout.buffer.flush()
        if (item := await answers.get()) is None:
            break
        number, place = item
        if not place.done():
            sys.stdout.buffer.flush()
        try:
            answer = asdict(await place)
        except AuthenticationFailed:
            raise
        except LastseenError as error:
            code = 1
            answer = {"line": number, "error": str(error)}
            for name in ("field", "code"):
                if (value := getattr(error, name, None)) is not None:
                    answer[name] = value
        sys.stdout.buffer.write(to_json(answer) + b"\n")
    sys.stdout.buffer.flush()
    return code


async def _lines() -> AsyncIterator[bytes]:
    """The lines of stdin as they come; the last one needs no newline."""
    from lastseen.errors import BadRequest
    from lastseen.threads import in_thread

    rest = b""
    while data := await in_thread(os.read, 0, 1024 * 1024):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE_BYTES:
            raise BadRequest(f"a line of stdin is longer than {MAX_LINE_BYTES} bytes")
    if rest:
        yield rest
