"""Runners: what they start, whom they obey, and what becomes of their tasks when one is ended, killed or frozen."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from lastseen.commands import CommandName

from tests.nodes import Ground, new_ground
from tests.runners import LEASE_SECONDS, RunnerSite, marked, running_site
from tests.waiting import until

ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
HEIRS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])
print('ready', flush=True)
n = 0
while True:
    time.sleep(0.05)
    n += 1
    print(n, flush=True)
"""
"""Writes numbers for ever, and has a child that does nothing; the command line of both ends with the first argument."""


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def site(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunnerSite]:
    async with running_site(ground, tmp_path_factory.mktemp("runners")) as site:
        yield site


async def begin_heirs(site: RunnerSite, task: str) -> None:
    """A task of two processes that write for ever, or until they are ended."""
    await site.start(task, sys.executable, "-c", HEIRS, task)
    await site.hear(task, "task_output")
    assert len(marked(task)) == 2


async def test_a_program_is_run_as_it_was_asked_for(site: RunnerSite) -> None:
    script = "import os, sys; print(os.environ, os.getcwd()); sys.exit(3)"
    (site.work_root / "sub").mkdir()
    async with site.runner("r1", runner_tasks=2, redact='["s3cr[a-z]+"]'):
        command = await site.start("plain", sys.executable, "-c", script, env={"GREETING": "secret-value"}, cwd="sub")
        end = await site.end("plain")
        events = await site.events("plain")
        assert [event["type"] for event in events] == [
            *("task_started", "task_command", "task_status_change", "task_output"),
            *("task_status_change", "task_failed"),
        ]
        assert {(event["project_id"], event["user_id"]) for event in events} == {("shop", "ann")}
        started, receipt, running, output = events[:4]
        assert started["data"] == {
            "command": [sys.executable, "-c", script],
            "cwd": str(site.work_root.resolve() / "sub"),
            "adapter": "plain",
            "pty": False,
            "env": ["GREETING"],
            "runner": "r1",
        }
        assert receipt["data"] == {
            "command_id": command.id,
            "command": "task_start",
            "by": "ann",
            "state": "applied",
        }
        assert running["data"]["status"] == "running"
        assert "'GREETING': 'secret-value'" in output["data"]["text"]
        assert "LASTSEEN" not in output["data"]["text"], "what the runner is told is not the program's to know"
        assert str(site.work_root.resolve() / "sub") in output["data"]["text"]
        assert (end["data"]["exit_code"], end["data"]["reason"]) == (3, "exit_code")
        await site.start("pty", "sh", "-c", "stty size; echo s3cret", pty=True, columns=99, rows=7)
        assert (await site.end("pty"))["type"] == "task_completed"
        assert await site.output("pty", "pty") == "7 99\r\n******\r\n"
        # Read once more, it starts nothing; neither does another with the same task's id.
        await site.commands.append(command)
        await site.start("plain", "true")
        # More than it may hold at once take turns.
        for number in range(5):
            await site.start(f"turn-{number}", "true")
        for number in range(5):
            assert (await site.end(f"turn-{number}"))["type"] == "task_completed"
        assert len(await site.events("plain")) == 6


async def test_what_is_not_allowed_is_said_and_not_run(site: RunnerSite) -> None:
    (site.work_root / "link").symlink_to("/")
    allow = '["echo ok *", "true"]'
    async with site.runner("r1", allow=allow):
        refused: dict[str, tuple[list[str], dict[str, Any]]] = {
            "not_allowed": (["echo", "no"], {}),
            "env_not_allowed": (["true"], {"env": {"LD_PRELOAD": "x"}}),
            "cwd_not_allowed": (["true"], {"cwd": "link/tmp"}),
            "unknown_adapter": (["true"], {"adapter": "no-such"}),
        }
        for reason, (command, more) in refused.items():
            await site.start(reason, *command, **more)
        await site.start("allowed", "echo", "ok", "$HOME *")
        for reason in refused:
            end = await site.end(reason)
            assert (end["type"], end["data"]) == ("task_failed", {"exit_code": 126, "reason": reason})
            events = await site.events(reason)
            assert events[0]["type"] == "task_started"
            receipt = events[1]["data"]
            assert (receipt["command"], receipt["state"], receipt["reason"]) == ("task_start", "rejected", reason)
        assert (await site.end("allowed"))["type"] == "task_completed"
        assert await site.output("allowed") == "ok $HOME *\n"
    # One that does not allow it leaves it to one that does.
    async with site.runner("r1", allow=allow), site.runner("r2", allow='["date"]'):
        for number in range(4):
            await site.start(f"date-{number}", "date")
        for number in range(4):
            assert (await site.end(f"date-{number}"))["type"] == "task_completed"


async def test_each_command_is_applied_once_by_the_one_that_holds_the_task(site: RunnerSite) -> None:
    async with site.runner("r1", runner_tasks=3), site.runner("r2", runner_tasks=3):
        tasks = [f"echo-{number}" for number in range(6)]
        for task in tasks:
            await site.start(task, sys.executable, "-c", ECHO, input=True)
        for task in tasks:
            await site.hear(task, "task_status_change", status="running")
        for task in tasks:
            for number in range(3):
                again = await site.send(task, CommandName.INPUT, {"input": f"{number}\n"}, id_=f"i{number}")
                await site.commands.append(again)
        # Another's command of that id is another; the same one's with another content is none.
        await site.send(tasks[0], CommandName.INPUT, {"input": "else\n"}, id_="i0")
        await site.send(tasks[0], CommandName.INPUT, {"input": "evila\n"}, id_="i0", user="bob")
        await site.hear(tasks[0], "task_command", by="bob", state="applied")
        await site.hear(tasks[0], "task_command", reason="id_in_use", node="n1")
        late = await site.send(tasks[1], CommandName.INPUT, {"input": "late\n"}, seconds=-1)
        await site.hear(tasks[1], "task_command", command_id=late.id, state="expired")
        for task in tasks:
            await site.send(task, CommandName.CANCEL)
        runners = set()
        for number, task in enumerate(tasks):
            assert (await site.end(task))["type"] == "task_cancelled"
            events = await site.events(task)
            assert sum(event["type"] == "task_started" for event in events) == 1
            runners.add(events[0]["data"]["runner"])
            assert await site.output(task) == "0\n1\n2\n" + ("alive\n" if number == 0 else "")
            said = [event["data"] for event in events if event["type"] == "task_command"]
            # It came twice; the first receipt may have answered both.
            assert sum(one["command_id"] == "i1" and one["state"] == "applied" for one in said) in (1, 2), said
        assert runners == {"r1", "r2"}, "each takes what it has room for"


async def test_the_tasks_of_a_killed_runner_end_as_lost(site: RunnerSite) -> None:
    async with site.runner("doomed") as doomed:
        await begin_heirs(site, "killed-1")
        await begin_heirs(site, "killed-2")
        async with site.runner("heir"):
            await site.start("other", sys.executable, "-c", ECHO, input=True)
            await site.hear("other", "task_status_change", status="running")
            await doomed.end(signal.SIGKILL)
            await until(lambda: not marked("killed-1") and not marked("killed-2"), what="their processes being gone")
            for task in ("killed-1", "killed-2"):
                end = await site.end(task)
                assert (end["type"], end["data"]) == ("task_failed", {"reason": "runner_lost"})
                assert (end["project_id"], end["user_id"]) == ("shop", "ann")
            if (await site.events("other"))[0]["data"]["runner"] == "heir":
                await site.send("other", CommandName.CANCEL)
                assert (await site.end("other"))["type"] == "task_cancelled"
        for task in ("killed-1", "killed-2"):
            assert sum(event["type"] == "task_failed" for event in await site.events(task)) == 1


async def test_a_runner_that_wakes_too_late_writes_nothing_that_counts(site: RunnerSite) -> None:
    async with site.runner("sleeper") as sleeper:
        await begin_heirs(site, "frozen")
        async with site.runner("watch"):
            sleeper.send(signal.SIGSTOP)
            end = await site.end("frozen")
            assert end["data"] == {"reason": "runner_lost"}
            assert len(marked("frozen")) == 2, "nobody can end them before it wakes"
            told = await site.events("frozen")
            before = await site.log.bounds()
            sleeper.send(signal.SIGCONT)
            await until(lambda: not marked("frozen"), what="the processes of the woken runner being gone")
            await until(lambda: sleeper.said.count("runs tasks that match") == 2, what="its next incarnation")
            assert await site.events("frozen") == told
            # What it had handed to the Kafka client before it was frozen may come, and is void; nothing later does.
            partition = site.log.partition_of(b"shop")
            assert (await site.log.bounds())[partition].next - before[partition].next <= 3
        # It takes part again.
        await site.start("after", "true")
        assert (await site.end("after"))["type"] == "task_completed"
        assert sleeper.process is not None
        assert sleeper.process.returncode is None


async def test_that_the_only_runner_stands_still_is_noticed_by_the_process_of_the_projections(
    site: RunnerSite, ground: Ground
) -> None:
    async with site.runner("alone") as alone, ground.projections():
        await begin_heirs(site, "alone")
        alone.send(signal.SIGSTOP)
        assert (await site.end("alone"))["data"] == {"reason": "runner_lost"}
        alone.send(signal.SIGCONT)
        await until(lambda: not marked("alone"), what="the processes of the woken runner being gone")


async def test_a_runner_that_is_told_to_end_drains(site: RunnerSite) -> None:
    async with site.runner("r1") as runner:
        await site.start("finishes", sys.executable, "-c", ECHO, input=True)
        await site.hear("finishes", "task_status_change", status="running")
        runner.send(signal.SIGTERM)
        await site.start("too-late", "true", timeout_seconds=5)
        await site.send("finishes", CommandName.INPUT, {"input": "123\n"})
        await site.hear("finishes", "task_output", text="321\n")
        await site.send("finishes", CommandName.CANCEL)
        assert await runner.end(signal.SIGCONT) == 0
        assert (await site.end("finishes"))["data"]["by"] == "ann"
        assert await site.events("too-late") == []
    async with site.runner("r2", runner_drain="cancel") as runner:
        assert (await site.end("too-late"))["type"] == "task_completed", "another takes what it has left"
        await begin_heirs(site, "cancelled")
        assert await runner.end(signal.SIGTERM) == 0
        assert not marked("cancelled")
        end = await site.end("cancelled")
        assert (end["type"], end["data"]["reason"]) == ("task_cancelled", "runner_drained")


async def test_nobody_is_lost_because_postgres_is_away(site: RunnerSite, postgres_url: str) -> None:
    name = site.ground.database_url.rsplit("/", 1)[1]
    admin = await asyncpg.connect(postgres_url)
    try:
        async with site.runner("r1"), site.runner("r2"):
            for number in range(4):
                await site.start(f"steady-{number}", sys.executable, "-c", ECHO, input=True)
            for number in range(4):
                await site.hear(f"steady-{number}", "task_status_change", status="running")
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            loop = asyncio.get_running_loop()
            back = loop.time() + 2 * LEASE_SECONDS
            number = 0
            while loop.time() < back:
                number += 1
                # Commands are applied, and told of, all the while.
                await site.send("steady-0", CommandName.INPUT, {"input": f"{number}\n"})
                await site.hear("steady-0", "task_output", text=f"{str(number)[::-1]}\n")
            claiming = await site.start("claimed-later", "true")
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            assert (await site.end("claimed-later"))["type"] == "task_completed"
            assert claiming.id
            for number in range(4):
                await site.send(f"steady-{number}", CommandName.CANCEL)
            for number in range(4):
                assert (await site.end(f"steady-{number}"))["type"] == "task_cancelled"
    finally:
        with suppress(asyncpg.PostgresError):
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


def test_a_folder_is_left_as_it_was(site: RunnerSite) -> None:
    assert {path.name for path in Path(site.work_root).iterdir()} == {"sub", "link"}
