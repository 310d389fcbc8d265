"""Real programs held as tasks: written to, paused, ended, lost; with a sink that has room or has none."""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
from lastseen.errors import AccessDenied
from lastseen.task_events import Outcome, TaskEvents
from lastseen.task_state import TaskState

from service.running.adapters.plain import PlainAdapter
from service.running.ending import Patience
from service.running.input_writer import MOST_BYTES
from service.running.program import Program, Size
from service.running.task_run import TaskRun
from tests.told import Told, command_of, held, python, ran
from tests.waiting import until

DEAF = "trap '' INT TERM HUP; echo $$; while :; do sleep 0.1; done"


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_somebody_types_to_an_interpreter_in_a_terminal() -> None:
    one = held(sys.executable, "-i", "-q", pty=Size(100, 30))
    await one.until_output(b">>> ", "pty")
    assert await one.apply("task_input", input="import os; print(os.get_terminal_size(), os.isatty(0))\n") == [
        "applied"
    ]
    await one.until_output(b"os.terminal_size(columns=100, lines=30) True", "pty")
    await one.apply("task_input", input="print('spins'); all(iter(lambda: 1, 0))\n")
    # While it still reads, it may take no notice of a signal before there is more to read.
    await one.until_output(b"\nspins", "pty")
    await one.apply("task_input", input="\x03")  # by the terminal, to the group in its foreground
    await one.until_output(b"KeyboardInterrupt", "pty")
    await one.apply("task_input", input="exit(3)\n")
    assert await one.life == Outcome(3, "exit_code")
    assert one.told.last == {"exit_code": 3, "reason": "exit_code"}


async def test_a_terminal_gives_every_byte(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "bytes").write_bytes(content)
    one, outcome = await ran("sh", "-c", f"stty raw -echo; cat {tmp_path}/bytes", pty=Size(80, 24))
    assert outcome.succeeded
    assert one.told.output("pty") == content


async def test_a_pipe_takes_input_in_order_and_a_cancelled_task_says_so_last() -> None:
    one = held("cat", input=True)
    await until(lambda: one.run.is_running, what="the program")
    commands = [command_of("task_input", input=f"{n}\n") for n in range(200)]
    for command in commands:
        await one.run.apply(command)
    await one.until_output(b"\n199\n")
    assert one.told.output() == b"".join(b"%d\n" % n for n in range(200))
    assert await one.apply("task_cancel") == ["applied"]
    assert await one.life == Outcome(130, "cancelled", "SIGINT", "cancelled", "u1")
    assert one.told.short[-3:] == ["task_cancel applied", "running>cancelled", "task_cancelled"]
    assert one.told.last == {"exit_code": 130, "reason": "cancelled", "signal": "SIGINT", "by": "u1"}
    assert one.told.view.status is TaskState.CANCELLED
    assert await one.apply("task_input", input="late") == [], "nothing comes behind the end"
    assert one.ended_once()


async def test_who_ignores_what_is_polite_is_killed_with_all_that_belongs_to_it() -> None:
    one = held("bash", "-c", f'set -m; sh -c "{DEAF.replace("$$", "-$$").replace("$", chr(92) + "$")}" & {DEAF}')
    await until(lambda: len(one.told.output().split()) == 2, what="both")
    pids = [abs(int(pid)) for pid in one.told.output().split()]
    assert os.getpgid(pids[0]) != os.getpgid(pids[1]), "a job has a group of its own"
    await one.apply("task_cancel")
    assert await one.apply("task_pause") == ["rejected task_ended"]
    assert await one.apply("task_cancel") == ["rejected task_ended"]
    outcome = await one.life
    assert (outcome.signal, outcome.stopped) == ("SIGKILL", "cancelled")
    assert not any(alive(pid) for pid in pids)


async def test_a_program_that_cleans_up_has_the_time_to() -> None:
    script = "trap 'echo cleaning; sleep 0.2; echo clean; exit 7' INT; echo up; while :; do sleep 0.05; done"
    one = held("sh", "-c", script, options={"patience": Patience(30, 30)})
    await one.until_output(b"up")
    await one.apply("task_cancel")
    assert await one.life == Outcome(7, "cancelled", None, "cancelled", "u1")
    assert one.told.output() == b"up\ncleaning\nclean\n"


async def test_a_paused_task_stands_still_goes_on_and_can_be_cancelled() -> None:
    one = held("sh", "-c", "sleep 60 & echo $!; wait", input=True)
    assert await one.apply("task_resume") == ["rejected not_running"]
    await one.until_output(b"\n")
    child = psutil.Process(int(one.told.output()))
    for _ in range(2):
        assert await one.apply("task_pause") == ["applied"]
        await until(lambda: child.status() == psutil.STATUS_STOPPED, what="a child that stands still")
        assert one.told.view.status == "paused"
        assert await one.apply("task_pause") == ["rejected already_paused"]
        assert await one.apply("task_input", input="for later") == ["applied"]
        assert await one.apply("task_resume") == ["applied"]
        await until(lambda: child.status() == psutil.STATUS_SLEEPING, what="a child that goes on")
        assert await one.apply("task_resume") == ["rejected not_paused"]
        assert one.told.view.status == "running"
    await one.apply("task_pause")
    await one.apply("task_cancel")
    assert (await one.life).stopped == "cancelled"
    changes = [word for word in one.told.short if ">" in word]
    assert changes == [
        "pending>running",
        *["running>paused", "paused>running"] * 2,
        "running>paused",
        "paused>cancelled",
    ]
    assert one.told.short[-2:] == ["paused>cancelled", "task_cancelled"]


async def test_a_task_s_time_runs_out_however_deaf_it_is() -> None:
    one, outcome = await ran("sh", "-c", DEAF, timeout_seconds=0.3)
    assert (outcome.signal, outcome.stopped, outcome.reason) == ("SIGKILL", "timeout", "timeout")
    assert one.told.short[-2:] == ["running>timeout", "task_timeout"]
    paused = held("sleep", "60", timeout_seconds=0.5)
    await until(lambda: paused.run.is_running, what="the program")
    await paused.apply("task_pause")
    assert (await paused.life).signal == "SIGINT"


async def test_a_flood_waits_for_the_sink_and_loses_nothing() -> None:
    """What is read and not published is a bounded part of it, wherever it halts."""
    size, told = 48 * 1024 * 1024, Told()
    one = held("sh", "-c", f"yes 0123456789 | head -c {size}", told=told)
    for halt in (1, 2, 3):
        await until(partial(_has_more, told, _bytes(told)), what="more output")
        told.room.clear()
        published = _bytes(told)
        assert one.run._running is not None
        streams = one.run._running.process.streams
        reads = [stream.reads for stream in streams]
        await asyncio.wait([one.life], timeout=0.2)
        moved = sum(stream.reads for stream in streams) - sum(reads)
        # A pipe may give a chunk in several reads; who read on would make hundreds.
        assert moved <= 8, f"halt {halt}: it reads on while nobody takes what it read"
        assert _bytes(told) == published
        told.room.set()
    assert (await one.life).succeeded
    assert told.output() == (b"0123456789\n" * (size // 11 + 1))[:size]


def _bytes(told: Told) -> int:
    return sum(int(str(event.data["bytes"])) for event in told.log if event.type == "task_output")


def _has_more(told: Told, than: int) -> bool:
    return _bytes(told) > than


async def test_who_goes_on_writing_after_the_program_is_waited_for() -> None:
    one, outcome = await ran("sh", "-c", "(for i in 1 2 3 4; do sleep 0.4; echo $i; done) & echo now; exit 5")
    assert outcome == Outcome(5, "exit_code")
    assert one.told.output() == b"now\n1\n2\n3\n4\n"


async def test_who_is_silent_after_the_program_is_ended_with_the_task() -> None:
    one, outcome = await ran("sh", "-c", f"sh -c '{DEAF}' & sleep 0.3")
    assert outcome.succeeded
    assert not alive(int(one.told.output()))


async def test_heirs_that_write_for_ever_can_be_cancelled() -> None:
    one = held("sh", "-c", "while :; do echo x; sleep 0.05; done & exit 0", input=True)
    await until(lambda: not one.run.is_running and one.told.output(), what="the end of the program")
    assert await one.apply("task_input", input="x") == ["rejected task_ended"]
    await one.apply("task_cancel")
    assert await one.life == Outcome(0, "cancelled", None, "cancelled", "u1")


async def test_who_has_left_the_session_is_not_waited_for() -> None:
    one, outcome = await ran("sh", "-c", "setsid sh -c 'echo $$; while :; do sleep 0.1; echo x; done' & sleep 0.4")
    assert outcome.succeeded
    os.kill(int(one.told.output().split()[0]), signal.SIGKILL)


async def test_a_command_counts_once_for_its_user() -> None:
    one = held("cat", input=True)
    await until(lambda: one.run.is_running, what="the program")
    for _ in range(3):
        await one.apply("task_input", id="1", input="once\n")
    assert await one.apply("task_input", id="1", input="once\n") == ["applied"] * 4
    assert await one.apply("task_input", id="1", input="twice\n") == ["applied"] * 4 + ["rejected id_in_use"]
    assert one.told.last["node"] == "n1"
    await one.apply("task_input", id="1", user="u2", input="another's\n")
    await one.apply("task_input", id="end", input="end\n")
    await one.until_output(b"end\n")
    assert one.told.output() == b"once\nanother's\nend\n"
    late = command_of("task_input", id="late", seconds=-0.1, input="late\n")
    for _ in range(2):
        await one.run.apply(late)
    assert one.told.receipts("late") == ["expired deadline"] * 2
    another = command_of("task_start", command=["cat"])
    await one.run.apply(another)
    assert one.told.receipts(another.id) == ["rejected id_in_use"]
    one.run.cancel("drained")
    assert (await one.life).reason == "drained"
    assert one.told.last["reason"] == "drained"


async def test_without_a_stdin_there_is_no_input() -> None:
    one = held("sleep", "60")
    await until(lambda: one.run.is_running, what="the program")
    assert await one.apply("task_input", input="x") == ["rejected no_input"]
    assert await one.apply("task_confirm", confirmation_id="1", approved=True) == ["rejected no_confirmation"]
    one.run.lose()
    closed = held(*python("import os, time; os.close(0); print('closed'); time.sleep(60)"), input=True)
    await closed.until_output(b"closed")
    command = command_of("task_input", input="x")
    await closed.run.apply(command)
    await until(lambda: closed.told.receipts(command.id) == ["rejected no_input"], what="the receipt")
    closed.run.lose()
    assert {(await each.life).reason for each in (one, closed)} == {"runner_lost"}


async def test_input_that_nobody_reads_holds_up_no_other_command() -> None:
    one = held(*python("import time; print('up'); time.sleep(60)"), input=True)
    await one.until_output(b"up")
    sent = [command_of("task_input", seconds=0.5 if n == 3 else 60, input="x" * 30_000) for n in range(5)]
    for command in sent:
        await one.run.apply(command)
    await until(lambda: one.told.receipts(sent[2].id) == ["accepted"], what="a receipt of the third")
    assert await one.apply("task_pause") == ["applied"]
    await one.apply("task_cancel")
    await one.life
    assert [one.told.receipts(command.id)[-1] for command in sent] == [
        "applied",
        "applied",
        "unknown write_failed",
        "rejected task_ended",
        "rejected task_ended",
    ]
    assert one.ended_once()


async def test_input_that_waits_past_its_deadline_is_never_written() -> None:
    script = "import sys, time, os\nprint('up'); time.sleep(60)"
    one = held(*python(script), input=True)
    await one.until_output(b"up")
    full = [command_of("task_input", input="x" * 32 * 1024) for _ in range(2)]
    late = command_of("task_input", seconds=0.3, input="late")
    for command in (*full, late):
        await one.run.apply(command)
    await until(lambda: one.told.receipts(late.id) == ["accepted", "expired deadline"], what="the deadline")
    one.run.lose()
    await one.life


async def test_more_input_than_there_is_room_for_is_refused() -> None:
    one = held("sleep", "60", input=True)
    await until(lambda: one.run.is_running, what="the program")
    sent = [command_of("task_input", input="x" * 32 * 1024) for _ in range(MOST_BYTES // 32 // 1024 + 4)]
    for command in sent:
        await one.run.apply(command)
    assert one.told.receipts(sent[-1].id) == ["rejected no_room"]
    await one.apply("task_cancel")
    await one.life
    assert all(one.told.receipts(command.id)[-1].split()[0] in {"applied", "rejected", "unknown"} for command in sent)


async def test_commands_that_come_while_the_end_is_being_told_are_rejected_before_it() -> None:
    one = held("sh", "-c", "read line; echo $line", input=True)
    await until(lambda: one.run.is_running, what="the program")
    await until(lambda: "pending>running" in one.told.short, what="the status")
    one.told.room.clear()
    input_ = asyncio.create_task(one.apply("task_input", input="x\n"))
    await until(lambda: not one.run.is_running, what="the end of the program")
    cancel = asyncio.create_task(one.apply("task_cancel"))
    await asyncio.sleep(0)
    one.told.room.set()
    assert await input_ == ["applied"]
    assert await cancel == ["rejected task_ended"]
    assert await one.life == Outcome(0, "exit_code")
    assert sorted(one.told.short[2:-2]) == ["task_cancel rejected task_ended", "task_input applied"]
    assert one.told.output() == b"x\n"
    assert one.ended_once()


async def test_a_lost_task_ends_at_once_and_says_nothing_more() -> None:
    one = held("sh", "-c", f"sh -c '{DEAF}' & {DEAF}", input=True)
    await until(lambda: len(one.told.output().split()) == 2, what="both")
    one.told.room.clear()
    stuck = asyncio.create_task(one.apply("task_pause"))
    await asyncio.sleep(0)
    before = len(one.told.log)
    one.run.lose()
    assert await one.life == Outcome(137, "runner_lost")
    assert not any(alive(int(pid)) for pid in one.told.output().split())
    one.told.room.set()
    await stuck
    await one.apply("task_cancel")
    assert len(one.told.log) <= before + 1, "no more than what was in the sink's hands"
    assert one.run.has_ended


async def test_a_cancelled_run_leaves_nothing_behind() -> None:
    one = held("sh", "-c", f"sh -c '{DEAF}' & {DEAF}")
    await until(lambda: len(one.told.output().split()) == 2, what="both")
    one.life.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one.life
    assert not any(alive(int(pid)) for pid in one.told.output().split())


async def test_a_task_cancelled_before_its_program_starts_starts_none(tmp_path: Path) -> None:
    told = Told()
    told.room.clear()
    one = held("touch", str(tmp_path / "ran"), told=told)
    await asyncio.sleep(0)
    cancel = asyncio.create_task(one.apply("task_cancel"))
    await asyncio.sleep(0)
    told.room.set()
    await cancel
    assert (await one.life).stopped == "cancelled"
    assert told.short == ["task_started", "task_cancel applied", "pending>cancelled", "task_cancelled"]
    assert not (tmp_path / "ran").exists()


async def test_a_start_is_told_of_with_its_receipt() -> None:
    start = command_of("task_start", id="s", command=["true"])
    one = held("true", options={"start": start, "told": {"adapter": "plain", "pty": False, "env": ["A"]}})
    await one.life
    assert one.told.short[:3] == ["task_started", "task_start applied", "pending>running"]
    assert one.told.log[0].data == {
        "command": ["true"],
        "cwd": os.getcwd(),
        "adapter": "plain",
        "pty": False,
        "env": ["A"],
    }


async def test_a_start_that_is_refused_runs_nothing() -> None:
    told, start = Told(), command_of("task_start", id="s", command=["true"])
    run = TaskRun(told, TaskEvents("t"), Program(["true"]), PlainAdapter(), start=start, warn=print)
    await run.reject("not_allowed")
    assert told.short == ["task_started", "task_start rejected not_allowed", "pending>failed", "task_failed"]
    assert told.last == {"exit_code": 126, "reason": "not_allowed"}
    refusing = Told(answer=lambda event: AccessDenied("no"))
    with pytest.raises(AccessDenied):
        await held("true", told=refusing).life


@pytest.mark.parametrize("argv", [("/nowhere",), ("sh", "\0")])
async def test_what_can_t_be_started_is_a_failed_task(argv: tuple[str, ...]) -> None:
    one, outcome = await ran(*argv)
    assert outcome.exit_code in (126, 127)
    assert one.told.short[-2:] == ["pending>failed", "task_failed"]
    assert len(one.warnings) == 1


async def test_a_program_ends_with_the_process_that_holds_it() -> None:
    script = """
import asyncio
from tests.told import held
async def main():
    tell = {"on_start": lambda pid: print(pid, flush=True)}
    await held("sh", "-c", "trap '' INT TERM HUP; while :; do sleep 0.1; done", options=tell).life
asyncio.run(main())
"""
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    pid = int(await holder.stdout.readline())
    assert alive(pid)
    holder.kill()
    await holder.wait()
    await until(lambda: not alive(pid), what="the end of the program")
