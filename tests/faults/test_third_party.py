"""A client that knows nothing but `docs/protocol.md`, and `websockets`: the document's own example, as it stands."""

import asyncio
import json
import re
import sys
from pathlib import Path

import websockets

from tests.driven import Driven, Shown, ended, output_in
from tests.output_program import expected
from tests.waiting import until

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
SEED, LINES, SECONDS = 11, 20_000, 3.0
MAIN = """
import sys

async def main(url, token, task):
    async for event in follow(url, token, task):
        print(json.dumps(event), flush=True)
        if event["type"] == "task_completed":
            return

asyncio.run(main(*sys.argv[1:]))
"""


def example() -> str:
    """The client in the document."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert isinstance(code, str)
    imported = set(re.findall(r"import (.*)", code))
    assert imported == {"asyncio, json, websockets"}
    return code


async def test_the_example_of_the_document_follows_a_task_over_a_killed_node(driven: Driven, tmp_path: Path) -> None:
    await driven.until_well()
    token = await driven.token("--user", "ann", "--project", "shop")
    url = driven.up.instance["url"].replace("http", "ws")
    shown, told, goes_on = Shown(tmp_path / "shown"), Shown(tmp_path / "told"), tmp_path / "goes-on"
    program = await driven.start_program("third-party", SEED, LINES, SECONDS, goes_on, project="shop")
    with shown.file.open("wb") as out, told.file.open("wb") as err:
        # -I: neither this folder nor our environment is to be found by it.
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", example() + MAIN, url, token, "third-party"), stdout=out, stderr=err
        )
    await until(lambda: shown.size > 200_000, timeout=20, what="output")
    assert program.returncode is None, "the node is killed in the middle of the run"
    goes_on.touch()
    await driven.kill_and_see_it_back("node-1")
    assert await ended(program) == 0
    assert await ended(client) == 0, told.content.decode()
    events = [json.loads(line) for line in shown.content.splitlines()]
    for stream, data in expected(SEED, LINES).items():
        assert (output_in(events, stream) == data) is True, stream
    assert len({event["id"] for event in events}) == len(events)


async def test_a_denial_is_answered_and_a_bad_token_closes_with_a_reason(driven: Driven) -> None:
    await driven.until_well()
    url = driven.up.instance["url"].replace("http", "ws") + "/ws"
    token = await driven.token("--user", "eve")
    async with websockets.connect(url, subprotocols=["lastseen.v1", f"bearer.{token}"]) as socket:  # type: ignore[list-item]
        assert json.loads(await socket.recv())["type"] == "connection_established"
        await socket.send('{"type":"subscribe","channel":"task:third-party","ref":1}')
        while (answer := json.loads(await socket.recv()))["type"] != "error":
            pass
        assert (answer["message"], answer["channel"], answer["ref"]) == (
            "Channel access denied",
            "task:third-party",
            1,
        )
    async with websockets.connect(url, subprotocols=["lastseen.v1", "bearer.nonsense"]) as socket:  # type: ignore[list-item]
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1008, "Invalid token")
