"""The built client in Node follows a task on the real servers, over killed nodes."""

import asyncio
import json
import sys
from pathlib import Path

from tests.browser.test_follow import PROGRAM, WANTED
from tests.driven import Driven, ended
from tests.javascript.node import Package, beside
from tests.waiting import until

LONGER = PROGRAM.replace("sleep(0.01)", "sleep(0.05)")
SCRIPT = Path(__file__).with_name("follow.mjs")


async def test_a_script_gets_a_task_s_output_once_over_killed_nodes(
    driven: Driven, built: Package, tmp_path: Path
) -> None:
    await driven.until_well()
    token = await driven.token("--user", "ann", "--project", "shop")
    killed = tmp_path / "killed"
    program = await driven.start_run("followed-in-node", sys.executable, "-c", LONGER, str(killed), project="shop")
    with beside(built, SCRIPT.name, SCRIPT.read_text()):
        url = driven.up.instance["url"]
        follower = await asyncio.create_subprocess_exec(
            *("node", SCRIPT.name, url, token, "followed-in-node"),
            cwd=built.folder,
            env=built.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        said: list[str] = []

        async def read() -> None:
            assert follower.stdout is not None
            while line := await follower.stdout.readline():
                said.append(line.decode())

        async def until_shown(connection: int) -> None:
            greeted = f"connected {connection}\n"
            await until(lambda: greeted in said, timeout=60, what=greeted)
            had = len(said)
            await until(lambda: len(said) > had + 20, timeout=30, what="output in the script")

        reading = asyncio.create_task(read())
        try:
            for connection in (1, 2):
                await until_shown(connection)
                assert program.returncode is None, "the node is killed in the middle of the run"
                await driven.kill_and_see_it_back("node-1")
            killed.touch()
            assert await ended(program) == 0
            assert await asyncio.wait_for(follower.wait(), 60) == 0
            await reading
        finally:
            if follower.returncode is None:
                follower.kill()
            assert follower.stderr is not None
            print([line[:200] for line in said[-3:]], (await follower.stderr.read()).decode())
    result = json.loads(said[-1].removeprefix("result "))
    assert (result["text"] == WANTED) is True
    assert (result["handled"] == WANTED) is True
    assert (result["told"] == WANTED) is True
    assert result["connections"] > 2
    assert result["gaps"] == 0
