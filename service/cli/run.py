"""`lastseen run`: a program as a task."""

import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli.running import say
from service.cli.target import Target, find_target, target_options

if TYPE_CHECKING:
    from lastseen.task_events import Outcome

    from service.running.task_run import TaskRun


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--project", help="The project that the task belongs to.")
@click.option("--task", help="The task's id; made up and shown where it is left out.")
@click.option("--quiet", is_flag=True, help="Write nothing of the program's output here.")
@target_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]…")
def run(
    project: str | None,
    task: str | None,
    quiet: bool,
    data_dir: Path,
    url: str | None,
    token: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a program as a task: whoever may read the task sees its output as it comes, and later.

    The program has this terminal's input; what it writes is written here as well. The exit code is its own:
    128 + N after signal N, 127 for a program that isn't there, 126 for one that can't be started. While the
    service is away the program waits as soon as about 4 MiB of its output do; nothing is lost.
    """
    from lastseen.channels import parse_channel
    from lastseen.errors import LastseenError

    target = find_target(data_dir, url, token)
    made_up = task is None
    task = task or f"run-{secrets.token_hex(6)}"
    try:
        parse_channel(f"task:{task}")
        if project is not None:
            parse_channel(f"project:{project}")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if made_up:
        say(f"task {task}")
    try:
        sys.exit(asyncio.run(_run(target, task, project, list(command), quiet)))
    except LastseenError as error:
        raise click.ClickException(f"the program was not run: {error}") from error


async def _run(target: Target, task: str, project: str | None, command: list[str], quiet: bool) -> int:
    from lastseen.publisher import Publisher
    from lastseen.task_events import TaskEvents

    from service.running.adapters.plain import PlainAdapter
    from service.running.program import Program
    from service.running.task_run import TaskRun

    away = _Away()
    async with Publisher(target.url, target.token, linger=0, on_retry=away.tell) as publisher:
        program = TaskRun(
            publisher,
            TaskEvents(task, project, target.user),
            Program(command, inherit_stdin=True, own_group=False),
            PlainAdapter(),
            stdout=None if quiet else 1,
            stderr=None if quiet else 2,
            warn=lambda text: say(f"lastseen run: {text}"),
        )
        running = asyncio.ensure_future(program.run())
        _handle_signals(program, running)
        try:
            outcome = await running
        except asyncio.CancelledError:
            say("lastseen run: stopped before all events of the task were published")
            # Left by an exception, so that the publisher does not wait for the service either.
            raise SystemExit(1) from None
    return outcome.exit_code


class _Away:
    """Says that the service is away, once for each time it goes."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def tell(self, reason: str, delay: float) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at > 30:
            self._told_at = now
            say(f"lastseen run: the service is away ({reason}); trying again")


def _handle_signals(program: "TaskRun", running: "asyncio.Future[Outcome]") -> None:
    loop = asyncio.get_running_loop()

    def pass_on(number: int) -> None:
        if not program.is_running:
            running.cancel()
        elif number != signal.SIGINT or not _is_foreground():
            program.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, pass_on, number)


def _is_foreground() -> bool:
    """Whether a Ctrl-C of the terminal reached the program too, being of our group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
