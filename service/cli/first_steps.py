"""What a new instance shows: a task to look at, and what to type next."""

import asyncio
import os
import signal
import subprocess
import sys

from service.embedded.data_dir import DataDir
from service.embedded.stack import Progress
from service.tied import tie_to_parent

WELCOME_TASK = "welcome"
GRACE = 1.0


def first_time(data_dir: DataDir) -> bool:
    """Whether this data directory has never been ready before; from now on it has."""
    mark = data_dir.path / "was-ready"
    if mark.exists():
        return False
    mark.touch()
    return True


async def run_welcome(data_dir: DataDir, progress: Progress) -> None:
    """Runs the welcome task, so that a new log has something to look at."""
    log = data_dir.folder("logs") / "welcome.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", "run", "--data-dir", str(data_dir.path), "--task", WELCOME_TASK),
            *("--", sys.executable, "-m", "service.embedded.welcome"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent(signal.SIGKILL),
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()
            raise
    if status != 0:
        progress.tell(f"the welcome task failed (exit status {status}): see {log}")


def next_steps(welcome: bool) -> list[str]:
    """Lines to print after `ready`; `welcome`: whether the welcome task is there to be watched."""
    command = os.environ.get("LASTSEEN_COMMAND", "lastseen")
    steps = [
        *([(f"tail task:{WELCOME_TASK}", "watch the welcome task, now or later")] if welcome else []),
        ("run --task first -- ls -lR", "run a program as a task"),
        ("tail task:first", "see its output, now or later"),
    ]
    return [
        "",
        "What to type next, in another terminal:",
        *(f"  {command} {arguments:<30} {meaning}" for arguments, meaning in steps),
        "Ctrl-C stops everything; the next `up` goes on where this one stopped.",
    ]
