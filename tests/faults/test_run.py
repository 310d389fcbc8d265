"""Real programs run as tasks, against a server that takes their events or doesn't."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lastseen.backoff import Backoff
from lastseen.chunks import read_chunk
from lastseen.errors import AccessDenied
from lastseen.publisher import Publisher
from lastseen.task_events import Outcome, TaskEvents

from service.running.adapters.plain import PlainAdapter
from service.running.program import Program
from service.running.task_run import TaskRun
from tests.faults.http import AWAY, DROP_AFTER, OK, EventServer, taking_events
from tests.waiting import until

MIXED = """
import os, random, sys
r = random.Random(5)
for i in range(3000):
    data = r.choice([b"plain line\\n", "grüße 日本 🎉\\n".encode(), r.randbytes(r.randrange(300)), b"\\0"])
    os.write(r.choice([1, 1, 1, 2]), data)
"""


class Run:
    """A program run to its end, with what it was told and what the server has."""

    def __init__(self, server: EventServer, tmp_path: Path) -> None:
        self.server = server
        self.out, self.err = tmp_path / "out", tmp_path / "err"
        self.warnings: list[str] = []
        self.program: TaskRun | None = None

    async def __call__(self, *argv: str, **options: Any) -> Outcome:
        out, err = (os.open(path, os.O_WRONLY | os.O_CREAT) for path in (self.out, self.err))
        try:
            async with Publisher(self.server.url, "t", linger=0, backoff=Backoff(base=0.001, cap=0.02)) as publisher:
                self.program = TaskRun(
                    publisher,
                    TaskEvents("t1", "p1", "u1"),
                    Program(argv, inherit_stdin=True, own_group=False, **options),
                    PlainAdapter(),
                    stdout=out,
                    stderr=err,
                    warn=self.warnings.append,
                )
                return await self.program.run()
        finally:
            os.close(out)
            os.close(err)

    @property
    def types(self) -> list[str]:
        """The types of the events, with the statuses of the changes."""
        return [
            f"{event['type']} {event['data']['status']}" if "status" in event["data"] else event["type"]
            for event in self.server.log
        ]

    def output(self, stream: str) -> bytes:
        """The bytes of a stream as the events have them, which must leave no byte out."""
        joined = bytearray()
        for event in self.server.log:
            if event["type"] == "task_output" and event["data"]["stream"] == stream:
                chunk = read_chunk(event["data"])
                assert chunk.offset == len(joined)
                joined += chunk.raw
        return bytes(joined)


async def test_a_program_is_a_task_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with taking_events() as server:
        run = Run(server, tmp_path)
        outcome = await run("sh", "-c", "echo hello; echo oops >&2", cwd=str(tmp_path))
        assert outcome == Outcome(0, "exit_code")
        assert run.types == [
            "task_started",
            "task_status_change running",
            "task_output",
            "task_output",
            "task_status_change completed",
            "task_completed",
        ]
        started, running, *_, changed, completed = server.log
        assert started["data"] == {"command": ["sh", "-c", "echo hello; echo oops >&2"], "cwd": str(tmp_path)}
        assert running["data"]["previous"] == "pending"
        assert changed["data"]["previous"] == "running"
        assert completed["data"] == {"exit_code": 0}
        assert {(e["task_id"], e["project_id"], e["user_id"]) for e in server.log} == {("t1", "p1", "u1")}
        assert (run.output("stdout"), run.output("stderr")) == (b"hello\n", b"oops\n")
        assert (run.out.read_bytes(), run.err.read_bytes()) == (b"hello\n", b"oops\n")


@pytest.mark.parametrize("faults", [[], [OK, AWAY, DROP_AFTER, OK, DROP_AFTER, AWAY, AWAY] * 20])
async def test_the_events_are_the_program_s_bytes(tmp_path: Path, faults: list[str]) -> None:
    async with taking_events(faults) as server:
        run = Run(server, tmp_path)
        assert (await run(sys.executable, "-c", MIXED)).succeeded
        assert len(run.output("stdout")) > 100_000
        assert run.output("stdout") == run.out.read_bytes()
        assert run.output("stderr") == run.err.read_bytes()
        assert any("base64" in event["data"] for event in server.log)
        assert run.types[-1] == "task_completed"


@pytest.mark.parametrize(
    ("script", "outcome", "data"),
    [
        ("exit 3", Outcome(3, "exit_code"), {"exit_code": 3, "reason": "exit_code"}),
        (
            "kill -9 $$",
            Outcome(137, "signal", "SIGKILL"),
            {"exit_code": 137, "reason": "signal", "signal": "SIGKILL"},
        ),
    ],
)
async def test_a_failure_is_the_last_event(tmp_path: Path, script: str, outcome: Outcome, data: dict[str, Any]) -> None:
    async with taking_events() as server:
        run = Run(server, tmp_path)
        assert await run("sh", "-c", script) == outcome
        assert run.types[-2:] == ["task_status_change failed", "task_failed"]
        assert server.log[-1]["data"] == data


async def test_a_program_that_can_t_be_started_is_a_failed_task(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    for argv, code in ((str(tmp_path / "none"), 127), (str(tmp_path / "data"), 126), (str(tmp_path), 126)):
        async with taking_events() as server:
            run = Run(server, tmp_path)
            assert (await run(argv)).exit_code == code
            assert run.types == ["task_started", "task_status_change failed", "task_failed"]
            assert server.log[1]["data"]["previous"] == "pending"
            assert len(run.warnings) == 1


async def test_a_task_that_may_not_be_started_runs_nothing(tmp_path: Path) -> None:
    async with taking_events([403]) as server:
        run = Run(server, tmp_path)
        with pytest.raises(AccessDenied):
            await run("touch", str(tmp_path / "ran"))
        assert not (tmp_path / "ran").exists()


async def test_output_comes_while_the_program_runs(tmp_path: Path) -> None:
    async with taking_events() as server:
        run = Run(server, tmp_path)
        running = asyncio.create_task(run("sh", "-c", "printf 'no newline'; exec sleep 60"))
        await until(lambda: run.output("stdout") == b"no newline", what="the output of a running program")
        assert run.program is not None
        run.program.send_signal(signal.SIGTERM)
        assert await running == Outcome(143, "signal", "SIGTERM")


async def test_while_the_service_is_away_the_program_waits(tmp_path: Path) -> None:
    """What is not published is bounded, so a program that writes without end comes to a halt."""
    progress = tmp_path / "progress"
    script = f"""
import os
n = 0
while n < 40_000_000:
    n += os.write(1, b"x" * 65536)
    open({str(progress)!r}, "w").write(str(n))
"""

    def written() -> int:
        return int(progress.read_text() or 0) if progress.exists() else 0

    async with taking_events([OK] + [AWAY] * 1_000_000) as server:
        run = Run(server, tmp_path)
        running = asyncio.create_task(run(sys.executable, "-c", script))
        await until(lambda: written() > 1_000_000, what="some output")
        halted = await until(lambda: _standing(written), timeout=20, what="the program standing still")
        assert halted < 12_000_000
        server.faults = iter(())
        assert (await running).succeeded
        output = run.output("stdout")
        assert len(output) == written()
        assert (output == run.out.read_bytes()) is True


_seen: dict[int, float] = {}


def _standing(written: Any) -> int:
    """The count, once it has not changed for half a second."""
    count = int(written())
    since = _seen.setdefault(count, time.monotonic())
    return count if time.monotonic() - since > 0.5 else 0


async def test_when_the_service_refuses_the_program_goes_on(tmp_path: Path) -> None:
    async with taking_events([OK, 401]) as server:
        run = Run(server, tmp_path)
        assert (await run("sh", "-c", "sleep 0.2; echo still here; exit 4")).exit_code == 4
        assert run.out.read_bytes() == b"still here\n"
        assert len(run.warnings) == 1
        assert "no longer published" in run.warnings[0]


async def test_a_child_left_behind_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with taking_events() as server:
        run = Run(server, tmp_path)
        assert (await run("sh", "-c", "sleep 60 & echo $!")).succeeded
        os.kill(int(run.output("stdout")), signal.SIGKILL)
        assert run.types[-1] == "task_completed"


async def test_a_reader_that_has_gone_costs_the_task_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    async with taking_events() as server, Publisher(server.url, "t", linger=0) as publisher:
        argv = ["seq", "50000"]
        program = TaskRun(
            publisher, TaskEvents("t1"), Program(argv, own_group=False), PlainAdapter(), stdout=write, warn=print
        )
        assert (await program.run()).succeeded
        run = Run(server, tmp_path)
        assert run.output("stdout").endswith(b"\n50000\n")
    os.close(write)
