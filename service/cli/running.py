"""Running a command's coroutine: a signal ends it in order, an error is one sentence."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import NoReturn

import click

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BROKEN_PIPE = 128 + signal.SIGPIPE
"""The exit code when nobody reads our output any more."""


def run(main: Coroutine[None, None, int]) -> NoReturn:
    """Run `main` and exit with what it returns; after SIGINT or SIGTERM cancelled it, with 128 + its number.

    A client's error is shown as one sentence, with exit code 1.
    """
    from lastseen.errors import LastseenError

    try:
        code = asyncio.run(_until_signal(main))
    except LastseenError as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:
        code = BROKEN_PIPE
    _exit(code)


async def _until_signal(main: Coroutine[None, None, int]) -> int:
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _exit(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        # The reader has gone: nothing more must be tried when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def say(text: str) -> None:
    """A line for the person, on stderr; dropped where nobody reads it any more."""
    try:
        click.echo(text, err=True)
    except OSError:
        return
