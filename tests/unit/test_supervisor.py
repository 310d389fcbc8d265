"""The supervisor, with real small child processes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.embedded import orphans
from service.embedded.child import Child, reason
from service.embedded.errors import StartError
from service.embedded.supervisor import Supervisor, describe
from service.embedded.together import together
from tests.waiting import until

SLEEPS = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def python(name: str, code: str, folder: Path, **options: object) -> Child:
    return Child(name=name, argv=[sys.executable, "-c", code], log=folder / f"{name}.log", **options)  # type: ignore[arg-type]


def says(child_log: Path, text: str) -> Callable[[], bool]:
    return lambda: child_log.exists() and text in child_log.read_text()


def pid_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


def ended(pid: int) -> bool:
    """Whether an orphan has ended; its new parent may be slow to notice."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_batch_is_ready_only_when_all_of_it_is(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def marked() -> bool:
        return mark.exists()

    slow = python(
        "slow", f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); {SLEEPS}", tmp_path, ready=marked
    )
    async with Supervisor(tmp_path, tell=print) as supervisor:
        await supervisor.start(slow, python("quick", SLEEPS, tmp_path))
        assert mark.exists()
        assert set(supervisor.pids) == {"slow", "quick"}
        pids = list(supervisor.pids.values())
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not pid_files(tmp_path), "pid files are gone with their processes"


async def test_a_child_that_ends_at_its_start_names_the_reason_and_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with Supervisor(tmp_path, tell=print) as supervisor:
        with pytest.raises(
            StartError, match=r"broken ended at its start \(exit status 3\): no disk \(log: .*broken.log\)"
        ):
            await supervisor.start(
                python("broken", "print('no disk'); raise SystemExit(3)", tmp_path, ready=never),
                python("other", SLEEPS, tmp_path),
            )
        other = supervisor.pids["other"]
    assert not psutil.pid_exists(other)


async def test_a_child_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with Supervisor(tmp_path, tell=print) as supervisor:
        with pytest.raises(StartError, match="idle was not ready after 0 s"):
            await supervisor.start(python("idle", SLEEPS, tmp_path, ready=never, ready_within=0.2))


async def test_a_program_that_is_not_there_is_a_start_error(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, tell=print) as supervisor:
        with pytest.raises(StartError, match="ghost could not be started"):
            await supervisor.start(Child(name="ghost", argv=["/nowhere/ghost"], log=tmp_path / "log"))


async def test_a_killed_child_is_told_and_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    changes: list[dict[str, int]] = []
    async with Supervisor(tmp_path, tell=told.append, changed=lambda pids: changes.append(dict(pids))) as supervisor:
        await supervisor.start(python("worker", SLEEPS, tmp_path))
        first = supervisor.pids["worker"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: "worker runs again" in told, what="the restart")
        second = supervisor.pids["worker"]
        assert psutil.pid_exists(second)
        assert second != first
    assert told[0] == "worker ended (killed by SIGKILL); starting it again in 0.2 s"
    assert changes == [{"worker": first}, {"worker": second}]


async def test_a_question_that_fails_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    answers: Iterator[bool | Exception] = iter(
        [True, ConnectionResetError("in the hand-shake"), ValueError("of any kind"), True]
    )

    async def ready() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Supervisor(tmp_path, tell=told.append) as supervisor:
        await supervisor.start(python("server", SLEEPS, tmp_path, ready=ready), python("other", SLEEPS, tmp_path))
        other = supervisor.pids["other"]
        os.kill(supervisor.pids["server"], signal.SIGKILL)
        await until(lambda: "server runs again" in told, what="the restart")
        assert supervisor.pids["other"] == other
        assert psutil.pid_exists(other)
    assert sum("can't be asked whether it is ready: ConnectionResetError('in the hand-shake')" in line for line in told)
    assert sum("can't be asked whether it is ready: ValueError('of any kind')" in line for line in told)
    ends = [line for line in told if "ended" in line]
    assert [line.rpartition("again in ")[2] for line in ends] == ["0.2 s", "0.4 s", "0.8 s"]


async def test_a_question_that_fails_at_the_start_is_a_start_error(tmp_path: Path) -> None:
    async def ready() -> bool:
        raise ValueError("no such thing")

    async with Supervisor(tmp_path, tell=print) as supervisor:
        with pytest.raises(StartError, match="worker can't be asked whether it is ready: ValueError"):
            await supervisor.start(python("worker", SLEEPS, tmp_path, ready=ready))


async def test_the_back_off_doubles_while_a_child_keeps_failing(tmp_path: Path) -> None:
    told: list[str] = []
    async with Supervisor(tmp_path, tell=told.append) as supervisor:
        await supervisor.start(python("flaky", "raise SystemExit(1)", tmp_path))
        await until(lambda: sum("ended" in line for line in told) == 3, what="three ends")
    ends = [line for line in told if "ended" in line]
    assert [line.rpartition("again in ")[2] for line in ends] == ["0.2 s", "0.4 s", "0.8 s"]


async def test_batches_stop_in_reverse_order(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = (
        "import signal, sys\n"
        f"def stop(*_): open({str(trace)!r}, 'a').write(sys.argv[1] + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('up', flush=True)\nsignal.pause()"
    )
    async with Supervisor(tmp_path, tell=print) as supervisor:
        for name in ("server", "client"):
            child = python(name, code, tmp_path)
            await supervisor.start(Child(name=name, argv=[*child.argv, name], log=child.log))
            await until(says(child.log, "up"))
    assert trace.read_text() == "client server "


async def test_what_does_not_stop_when_asked_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = python("stubborn", STUBBORN, tmp_path, grace=0.2)
    async with Supervisor(tmp_path, tell=print) as supervisor:
        await supervisor.start(stubborn)
        await until(says(stubborn.log, "up"))
        pid = supervisor.pids["stubborn"]
        began = asyncio.get_running_loop().time()
    assert not psutil.pid_exists(pid)
    assert asyncio.get_running_loop().time() - began < 3


async def test_an_error_of_the_supervisor_itself_reaches_its_owner(tmp_path: Path) -> None:
    def fails(pids: object) -> None:
        if restarted:
            raise OSError(28, "No space left on device")

    restarted = False
    async with Supervisor(tmp_path, tell=print, changed=fails) as supervisor:
        await supervisor.start(python("worker", SLEEPS, tmp_path))
        restarted = True
        os.kill(supervisor.pids["worker"], signal.SIGKILL)
        async with asyncio.timeout(30):
            with pytest.raises(OSError, match="No space left"):
                await supervisor.wait()
        pid = supervisor.pids["worker"]
    assert not psutil.pid_exists(pid)


ORPHANING = """
import asyncio, os, signal, sys
from pathlib import Path
from service.embedded.child import Child, reason
from service.embedded.supervisor import Supervisor

async def main(folder):
    async with Supervisor(folder, tell=print) as supervisor:
        sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
        await supervisor.start(Child(name="left", argv=sleeps, log=folder / "log", orphan_signal=int(sys.argv[2])))
        print(supervisor.pids["left"], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""


async def orphan(folder: Path, orphan_signal: int) -> int:
    """Runs a supervisor that is killed -9; returns the pid of its child."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORPHANING, str(folder), str(orphan_signal)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    return int(output)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    pid = await orphan(tmp_path, signal.SIGTERM)
    await until(lambda: ended(pid), what="the child's end")


async def test_the_next_start_stops_what_was_left(tmp_path: Path) -> None:
    pid = await orphan(tmp_path, 0)
    assert psutil.pid_exists(pid)
    assert await orphans.stop(tmp_path) == ["left"]
    assert ended(pid)
    assert not pid_files(tmp_path)


async def test_a_process_that_only_has_the_number_is_left_alone(tmp_path: Path) -> None:
    mine = psutil.Process()
    record = {"pid": mine.pid, "created": mine.create_time() - 60, "signal": 9, "program": mine.cmdline()[0]}
    (tmp_path / "reused.json").write_text(json.dumps(record))
    (tmp_path / "other.json").write_text(json.dumps(record | {"created": mine.create_time(), "program": "/bin/other"}))
    (tmp_path / "torn.json").write_text('{"pid": ')
    assert await orphans.stop(tmp_path) == []
    assert not pid_files(tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (143, "exit status 143"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_exit_statuses_in_words(status: int, words: str) -> None:
    assert describe(status) == words


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", ""),
        ("starting\nno port\n", ": no port"),
        ("java.io.IOException: No space left\n\tat a.B\n\tat c.D\n", ": java.io.IOException: No space left"),
        ("initdb: error: could not write\ninitdb: removing data\n", ": initdb: error: could not write"),
    ],
)
def test_the_reason_is_the_line_of_this_start_that_reads_like_one(tmp_path: Path, written: str, told: str) -> None:
    log = tmp_path / "log"
    before = "FATAL: of an earlier start\n"
    log.write_text(before + written)
    assert reason(log, len(before)) == f"{told} (log: {log})"


async def test_the_first_of_several_failures_is_raised_as_it_is_and_cancels_the_rest() -> None:
    cancelled = asyncio.Event()

    async def fails() -> None:
        raise StartError("why")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(StartError, match="why"):
        await together(waits(), fails())
    assert cancelled.is_set()
