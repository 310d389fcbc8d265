"""`lastseen send-input`, `cancel`, `pause`, `resume` and `confirm`: what is done to a running task from a terminal."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from service.cli.running import run, say
from service.cli.target import Target, find_target, target_options

if TYPE_CHECKING:
    from lastseen.asking import CommandResult
    from lastseen.client import Client

F = TypeVar("F", bound=Callable[..., Any])

_REASONS = {
    "task_ended": "the task has ended",
    "no_answer": "nobody who runs the task has answered",
    "no_runner": "no runner has the task: it was lost, or the task has another holder, which has not answered",
    "no_result": "it was accepted, and nothing has been heard of it since",
    "runner_lost": "whoever ran the task was lost",
    "deadline": "whoever runs the task came to it too late",
    "no_input": "the task takes no input",
    "no_room": "the program reads none of what waits for it",
    "no_confirmation": "the task has no such question open",
    "not_running": "the task does not run",
    "already_paused": "the task is paused already",
    "not_paused": "the task is not paused",
    "write_failed": "the program did not take it",
    "id_in_use": "another command was sent with that id",
}


def _command_options(command: F) -> F:
    """`--id`, and which service; the command gets them as id_, data_dir, url and token."""
    help_ = "The command's id: sent again with the same one, it is not applied twice."
    return target_options(click.option("--id", "id_", help=help_)(command))


@click.command("send-input")
@click.argument("task")
@click.argument("text")
@click.option("--no-newline", "-n", is_flag=True, help="Send TEXT as it is, without Enter behind it.")
@_command_options
def send_input(
    task: str, text: str, no_newline: bool, id_: str | None, data_dir: Path, url: str | None, token: str | None
) -> None:
    """Type TEXT and Enter into the program that runs as TASK. (No second Enter where TEXT ends with a newline.)

    Exits with 0 when the input has been written to the program, else with 1 and the reason on stderr.
    """
    typed = text if no_newline or text.endswith("\n") else f"{text}\n"
    target = find_target(data_dir, url, token)
    run(_command(target, lambda client: client.send_input(task, typed, command_id=id_)))


@click.command()
@click.argument("task")
@_command_options
def cancel(task: str, id_: str | None, data_dir: Path, url: str | None, token: str | None) -> None:
    """End the program that runs as TASK.

    Exits with 0 when that has been begun, else with 1 and the reason on stderr.
    """
    target = find_target(data_dir, url, token)
    run(_command(target, lambda client: client.cancel(task, command_id=id_)))


@click.command()
@click.argument("task")
@_command_options
def pause(task: str, id_: str | None, data_dir: Path, url: str | None, token: str | None) -> None:
    """Halt the program that runs as TASK, until `lastseen resume`.

    Exits with 0 when that has been done, else with 1 and the reason on stderr.
    """
    target = find_target(data_dir, url, token)
    run(_command(target, lambda client: client.pause(task, command_id=id_)))


@click.command()
@click.argument("task")
@_command_options
def resume(task: str, id_: str | None, data_dir: Path, url: str | None, token: str | None) -> None:
    """Let the program go on that was halted by `lastseen pause`.

    Exits with 0 when that has been done, else with 1 and the reason on stderr.
    """
    target = find_target(data_dir, url, token)
    run(_command(target, lambda client: client.resume(task, command_id=id_)))


@click.command()
@click.argument("task")
@click.argument("confirmation")
@click.argument("answer", type=click.Choice(["yes", "no"]))
@_command_options
def confirm(
    task: str, confirmation: str, answer: str, id_: str | None, data_dir: Path, url: str | None, token: str | None
) -> None:
    """Answer the question CONFIRMATION (the `confirmation_id` of a task_confirmation_required) of TASK.

    Exits with 0 when the program has been given the answer, else with 1 and the reason on stderr.
    """
    approved = answer == "yes"
    target = find_target(data_dir, url, token)
    run(_command(target, lambda client: client.confirm(task, confirmation, approved=approved, command_id=id_)))


async def _command(target: Target, act: "Callable[[Client], Awaitable[CommandResult]]") -> int:
    from lastseen.client import Client

    def away(reason: str, delay: float) -> None:
        say(f"the service is away ({reason}), again in {delay:.1f} s")

    async with Client(target.url, target.token, on_interruption=away) as client:
        result = await act(client)
    if result.success:
        return 0
    reason = _REASONS.get(result.reason or "", result.reason or "no reason was given")
    say(f"{result.state}: {reason} (command {result.id})")
    return 1
