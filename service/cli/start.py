"""`lastseen start`: a program as a task, on whichever runner takes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from service.cli.keyboard import terminal_size
from service.cli.running import run, say
from service.cli.tail import follow
from service.cli.target import LOCAL_USER, Target, find_target, target_options

LOCAL_PROJECT = "local"
"""The project of tasks of a local instance for which nobody names another."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--project",
    envvar="LASTSEEN_PROJECT",
    show_envvar=True,
    help="The project of the task; of a local instance: local.",
)
@click.option("--task", help="The task's id, which no task has had; made up where it is left out.")
@click.option("--id", "id_", help="The start's id: sent again with the same one, it does not start twice.")
@click.option("--pty", is_flag=True, help="Run it on a terminal of its own, as large as this one.")
@click.option("--input", "takes_input", is_flag=True, help="Keep its stdin open for send-input; with --pty it is.")
@click.option("--env", "env", metavar="K=V", multiple=True, help="Set a variable of its environment.")
@click.option("--cwd", help="Where it runs, as the runner sees it.")
@click.option("--timeout", "timeout_seconds", type=float, metavar="SECONDS", help="End it after so long.")
@click.option("--adapter", default="plain", show_default=True, help="What understands its output: plain, claude, …")
@click.option("--follow", "-f", "follows", is_flag=True, help="Write its output here until it has ended.")
@target_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]…")
def start(
    data_dir: Path,
    url: str | None,
    token: str | None,
    project: str | None,
    env: Sequence[str],
    pty: bool,
    follows: bool,
    id_: str | None,
    **options: Any,
) -> None:
    """Have a runner start a program as a task. Prints the task's id when one has.

    What may be started is up to the runner's settings. Exits with 0 when the program has been started, else with 1
    and the reason on stderr. Ctrl-C of --follow ends the watching, not the task: that is `lastseen cancel`.
    """
    target = find_target(data_dir, url, token)
    if project is None:
        if target.user != LOCAL_USER or not callable(target.token):
            raise click.UsageError("--project P (or LASTSEEN_PROJECT) names the project that the task is to be in")
        project = LOCAL_PROJECT
    size = terminal_size() if pty else None
    run(_start(target, follows, project=project, env=_variables(env), pty=size, command_id=id_, **options))


def _variables(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{entry!r}: give a variable as NAME=VALUE", param_hint="--env")
        found[name] = value
    return found


async def _start(target: Target, follows: bool, **asked: Any) -> int:
    from lastseen.client import Client
    from lastseen.errors import NoRunner

    def away(reason: str, delay: float) -> None:
        say(f"the service is away ({reason}), again in {delay:.1f} s")

    try:
        started = await Client(target.url, target.token).start(**asked, on_retry=away)
    except NoRunner as error:
        say(f"task {error.task} was not started: no runner has taken it (start {error.id})")
        return 1
    click.echo(started.task)
    if started.state != "applied":
        say(f"{started.state}: the task has begun, and nothing more has been heard of its start (start {started.id})")
        return 1
    return await follow(target, f"task:{started.task}", started.position) if follows else 0
