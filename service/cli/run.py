"""`lastseen run`: a program as a task."""

import asyncio
import secrets
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli.keyboard import is_foreground, passed_to, terminal_size
from service.cli.running import say
from service.cli.target import Target, find_target, target_options

if TYPE_CHECKING:
    from lastseen.hearing import CommandStream
    from lastseen.task_events import Outcome
    from pydantic import JsonValue

    from service.running.adapter import Adapter
    from service.running.program import Program
    from service.running.task_run import TaskRun


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--project", help="The project that the task belongs to.")
@click.option("--task", help="The task's id; made up and shown where it is left out.")
@click.option("--quiet", is_flag=True, help="Write nothing of the program's output here.")
@click.option("--pty", is_flag=True, help="Run it on a terminal of its own, as large as this one: both can type there.")
@click.option("--input", "takes_input", is_flag=True, help="Its stdin is what send-input writes, not this terminal.")
@click.option("--adapter", default="plain", show_default=True, help="What understands its output: plain, claude, …")
@target_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]…")
def run(
    project: str | None,
    task: str | None,
    quiet: bool,
    pty: bool,
    takes_input: bool,
    adapter: str,
    data_dir: Path,
    url: str | None,
    token: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a program as a task: whoever may read the task sees its output as it comes, and later.

    The program has this terminal's input; what it writes is written here as well. Who may act on the task can cancel,
    pause and resume it from anywhere, and with --pty or --input write to it. The exit code is its own: 128 + N after
    signal N, 127 for a program that isn't there, 126 for one that can't be started. While the service is away the
    program waits as soon as about 4 MiB of its output do; nothing is lost.
    """
    from lastseen.channels import parse_channel
    from lastseen.errors import LastseenError

    from service.domain.errors import BadRequest
    from service.running.adapters.named import adapter_named

    target = find_target(data_dir, url, token)
    made_up = task is None
    task = task or f"run-{secrets.token_hex(6)}"
    try:
        parse_channel(f"task:{task}")
        if project is not None:
            parse_channel(f"project:{project}")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    try:
        understands = adapter_named(adapter)
    except BadRequest as error:
        raise click.BadParameter(str(error), param_hint="--adapter") from error
    if made_up:
        say(f"task {task}")
    program = _program(command, understands, pty=pty, takes_input=takes_input)
    told: dict[str, JsonValue] = {"adapter": adapter, "pty": pty}
    if program.pty is not None:
        told |= program.pty._asdict()
    try:
        sys.exit(asyncio.run(_run(target, task, project, program, understands, told, quiet)))
    except LastseenError as error:
        raise click.ClickException(f"the program was not run: {error}") from error


def _program(command: tuple[str, ...], adapter: "Adapter", *, pty: bool, takes_input: bool) -> "Program":
    """In a terminal's foreground the program stays of our group, which has the terminal; else it gets a session."""
    from service.running.program import Program, Size

    return Program(
        command,
        pty=Size(*terminal_size()) if pty else None,
        input=takes_input and not pty,
        inherit_stdin=not (pty or takes_input or adapter.needs_input),
        own_group=pty or not is_foreground(),
    )


async def _run(
    target: Target,
    task: str,
    project: str | None,
    program: "Program",
    adapter: "Adapter",
    told: "dict[str, JsonValue]",
    quiet: bool,
) -> int:
    from lastseen.hearing import CommandStream
    from lastseen.publisher import Publisher
    from lastseen.task_events import TaskEvents

    from service.running.screen_snapshots import ScreenSnapshots
    from service.running.task_run import TaskRun

    away, begun = _Away(), asyncio.Event()
    async with Publisher(target.url, target.token, linger=0, on_retry=away.tell) as publisher:
        run = TaskRun(
            publisher,
            TaskEvents(task, project, target.user),
            program,
            adapter,
            told=told,
            screen=ScreenSnapshots,
            stdout=None if quiet else 1,
            stderr=None if quiet else 2,
            warn=lambda text: say(f"lastseen run: {text}"),
            on_start=lambda _: begun.set(),
        )
        running = asyncio.ensure_future(run.run())
        hearing = asyncio.ensure_future(_hear(run, begun, CommandStream(target.url, target.token, task)))
        _handle_signals(run, running, owns_group=program.own_group)
        try:
            async with passed_to(run, running, begun, wanted=program.pty is not None):
                outcome = await running
        except asyncio.CancelledError:
            say("lastseen run: stopped before all events of the task were published")
            # Left by an exception, so that the publisher does not wait for the service either.
            raise SystemExit(1) from None
        finally:
            hearing.cancel()
            (failure,) = await asyncio.gather(hearing, return_exceptions=True)
            if isinstance(failure, Exception):
                say(f"lastseen run: commands were not heard to the end: {failure!r}")
    return outcome.exit_code


async def _hear(run: "TaskRun", begun: asyncio.Event, stream: "CommandStream") -> None:
    """Apply what others ask of the task, once its start has been told and its program runs."""
    from lastseen.errors import LastseenError

    await begun.wait()
    try:
        async with aclosing(stream.commands()) as commands:
            async for command in commands:
                await run.apply(command)
    except LastseenError as error:
        if run.is_running:
            say(f"lastseen run: nobody can command the task from elsewhere: {error}")


class _Away:
    """Says that the service is away, once for each time it goes."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def tell(self, reason: str, delay: float) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at > 30:
            self._told_at = now
            say(f"lastseen run: the service is away ({reason}); trying again")


def _handle_signals(run: "TaskRun", running: "asyncio.Future[Outcome]", *, owns_group: bool) -> None:
    loop = asyncio.get_running_loop()

    def pass_on(number: int) -> None:
        if not run.is_running:
            running.cancel()
        elif number != signal.SIGINT or owns_group or not is_foreground():
            # Else a Ctrl-C of the terminal has reached the program too, being of our group.
            run.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, pass_on, number)
