"""`lastseen run`, `tail`, `history`, `publish` and `token` against a real node, a real Kafka and a real Postgres."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from lastseen.chunks import read_chunk
from lastseen.client import Client
from lastseen.errors import AccessDenied, AuthenticationFailed, BadRequest
from lastseen.positions import Position

from service.adapters.tokens import issue, verify
from service.ports import Epoch
from tests.integration.conftest import LogWriters
from tests.service_process import SECRET, ServiceProcess, running_service
from tests.waiting import until

PROGRAM = """
import random, sys, time
r = random.Random(int(sys.argv[1]))
rounds, pause = int(sys.argv[2]), float(sys.argv[3])
for i in range(rounds):
    out = bytearray()
    for j in range(100):
        out += f"{i}.{j} ".encode()
        out += r.choice(["grüße 日本 🎉".encode(), r.randbytes(r.randrange(90)), b"plain " * r.randrange(20)]) + b"\\n"
    sys.stdout.buffer.write(out)
    sys.stdout.buffer.flush()
    if i % 5 == 0:
        sys.stderr.buffer.write(f"[{i}]\\n".encode())
        sys.stderr.buffer.flush()
    time.sleep(pause)
"""


@pytest.fixture
async def service(kafka: str, topic: str, database: str, epoch: Epoch, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """A node on the test's topic and database."""
    async with running_service(kafka, topic, database, epoch.name, tmp_path) as service:
        yield service


def program(rounds: int, pause: float = 0.0, seed: int = 1) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(seed), str(rounds), str(pause)]


def events_of(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def stream_of(events: list[dict[str, Any]], stream: str = "stdout") -> bytes:
    joined = bytearray()
    for event in events:
        if event["type"] == "task_output" and event["data"]["stream"] == stream:
            chunk = read_chunk(event["data"])
            assert chunk.offset == len(joined)
            joined += chunk.raw
    return bytes(joined)


def _grown(file: Path, by: int, writer: asyncio.subprocess.Process) -> Callable[[], bool]:
    """Whether `file` has grown, or its writer has ended."""
    wanted = file.stat().st_size + by
    return lambda: file.stat().st_size >= wanted or writer.returncode is not None


async def test_a_program_runs_and_its_output_is_seen_later(service: ServiceProcess) -> None:
    code, out, err = await service.cli("run", "--task", "t1", "--", "sh", "-c", "echo hi; echo oh >&2; exit 3")
    assert (code, out, err) == (3, b"hi\n", "oh\n")
    code, out, err = await service.cli("tail", "task:t1")
    assert code == 0
    assert sorted(out.splitlines()) == [b"hi", b"oh"]
    position = err.split()[-1]
    assert err == f"position {position}\n"
    assert (await service.cli("tail", "task:t1", "--after", position))[:2] == (0, b"")
    code, out, _ = await service.cli("tail", "task:t1", "--json")
    events = events_of(out)
    assert [event["type"] for event in events][:2] == ["task_started", "task_status_change"]
    assert events[-1]["type"] == "task_failed"
    assert events[-1]["position"] == position
    assert (await service.cli("tail", "task:t1", "--json", "--after", events[2]["position"]))[1] == b"\n".join(
        out.splitlines()[3:]
    ) + b"\n"


async def test_a_made_up_task_is_named_and_stdin_is_the_program_s(service: ServiceProcess) -> None:
    code, out, err = await service.cli("run", "--", "cat", stdin=b"into the program")
    assert (code, out) == (0, b"into the program")
    task = err.split()[-1]
    assert (await service.cli("tail", f"task:{task}"))[1] == b"into the program"


async def test_what_can_t_be_run_has_a_shell_s_exit_code(service: ServiceProcess) -> None:
    assert (await service.cli("run", "--task", "t1", "--", "no-such-program"))[0] == 127
    assert (await service.cli("run", "--task", "t2", "--", "/"))[0] == 126
    assert (await service.cli("run", "--quiet", "--", "sh", "-c", "echo x; kill -9 $$"))[:2] == (137, b"")
    assert json.loads((await service.cli("tail", "task:t1", "--json"))[1].splitlines()[-1])["type"] == "task_failed"


async def test_a_signal_is_passed_on_and_the_end_is_published(service: ServiceProcess) -> None:
    script = "trap 'echo stopping; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    run = await service.start_cli("run", "--task", "t1", "--", "sh", "-c", script)
    assert run.stdout is not None
    assert await run.stdout.readline() == b"up\n"
    run.send_signal(signal.SIGTERM)
    assert await run.wait() == 9
    assert (await service.cli("tail", "task:t1"))[1] == b"up\nstopping\n"


async def test_a_viewer_killed_at_random_and_resumed_by_the_position_it_printed_has_it_all(
    service: ServiceProcess,
) -> None:
    random_ = random.Random(3)
    running = asyncio.create_task(service.cli("run", "--task", "t1", "--", *program(150, 0.02)))
    lines: list[bytes] = []
    for _ in range(5):
        after = ["--after", json.loads(lines[-1])["position"]] if lines else []
        tail = await service.start_cli("tail", "task:t1", "--json", *after)
        assert tail.stdout is not None
        lines += [line for _ in range(random_.randrange(1, 25)) if (line := await tail.stdout.readline())]
        if tail.returncode is None:
            tail.kill()
        lines += [line for line in (await tail.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")]
        await tail.wait()
    code, out, _ = await service.cli("tail", "task:t1", "--json", "--after", json.loads(lines[-1])["position"])
    assert code == 0
    code, wanted, errors = await running
    events = events_of(b"".join(lines) + out)
    assert len({event["id"] for event in events}) == len(events)
    assert stream_of(events) == wanted
    assert stream_of(events, "stderr") == errors.encode()


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["raw", "json"])
async def test_a_viewer_that_saves_its_place_writes_on_where_it_was_killed(
    service: ServiceProcess, tmp_path: Path, form: list[str]
) -> None:
    random_ = random.Random(4)
    running = asyncio.create_task(service.cli("run", "--task", "t1", "--", *program(150, 0.02)))
    out, place = tmp_path / "out", tmp_path / "place"

    async def tail() -> asyncio.subprocess.Process:
        fd = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            return await service.start_cli("tail", "task:t1", "--save", str(place), *form, stdout=fd)
        finally:
            os.close(fd)

    for _ in range(5):
        viewer = await tail()
        await until(_grown(out, random_.randrange(1, 200_000), viewer), timeout=30, what="more output")
        if viewer.returncode is None:
            viewer.kill()
        await viewer.wait()
    assert await (await tail()).wait() == 0
    code, stdout, stderr = await running
    assert code == 0
    if form:
        events = events_of(out.read_bytes())
        assert len({event["id"] for event in events}) == len(events)
        assert stream_of(events) == stdout
        assert stream_of(events, "stderr") == stderr.encode()
    else:
        whole = (await service.cli("tail", "task:t1"))[1]
        assert (out.read_bytes() == whole) is True
        assert len(whole) == len(stdout) + len(stderr.encode())
    assert await (await tail()).wait() == 0


async def test_a_node_killed_in_the_middle_is_waited_for(service: ServiceProcess, log_writers: LogWriters) -> None:
    await log_writers.start()
    running = asyncio.create_task(service.cli("run", "--task", "t1", "--", *program(120, 0.03)))
    watching = asyncio.create_task(service.cli("tail", "task:t1", "--json"))
    seen = await service.start_cli("tail", "task:t1", "--json")
    assert seen.stdout is not None
    for _ in range(2):
        for _ in range(10):
            assert await seen.stdout.readline()
        await service.stop()
        await service.start()
    rest = await seen.stdout.read()
    assert await seen.wait() == 0
    assert rest
    code, wanted, errors = await running
    assert code == 0
    assert "the service is away" in errors
    code, out, told = await watching
    assert code == 0
    assert "interrupted" in told
    assert stream_of(events_of(out)) == wanted


async def test_events_are_published_from_options_and_from_lines(service: ServiceProcess) -> None:
    code, out, _ = await service.cli("publish", "--type", "user_action", "--user", "u", "--data", '{"a": 1}')
    assert code == 0
    first = json.loads(out)
    assert set(first) == {"id", "partition", "offset", "duplicate"}
    lines = [
        '{"type": "user_action", "user_id": "u", "id": "mine"}',
        "nonsense",
        '{"type": "Bad", "user_id": "u"}',
        "",
        '{"type": "user_action", "user_id": "u", "id": "mine"}',
        '{"type": "user_action", "user_id": "u"}',
    ]
    code, out, _ = await service.cli("publish", stdin="\n".join(lines).encode())
    assert code == 1
    answers = events_of(out)
    assert answers[0]["id"] == "mine"
    assert answers[0]["duplicate"] is False
    assert answers[1]["line"] == 2
    assert "no JSON" in answers[1]["error"]
    assert (answers[2]["line"], answers[2]["field"]) == (3, "type")
    assert answers[3] == {**answers[0], "duplicate": True}
    assert answers[4]["partition"] == answers[0]["partition"] == first["partition"]
    assert answers[4]["offset"] > answers[0]["offset"] > first["offset"]
    code, out, _ = await service.cli("publish", stdin=b'{"type": "user_action"}')
    assert code == 1
    assert json.loads(out)["field"] == "user_id"


async def test_what_can_t_be_done_is_said(service: ServiceProcess) -> None:
    for arguments, code, said in (
        (["publish", "--user", "u"], 2, "needs --type"),
        (["publish", "--type", "user_action", "--user", "u", "--data", "x"], 2, "no JSON"),
        (["publish", "--type", "user_action"], 1, "user_id"),
        (["tail", "task:t", "--after", "nonsense"], 2, "is no position"),
        (["tail", "nonsense"], 2, "is no channel"),
        (["tail", "task:t", "--save", "/no/such/folder/f"], 2, "no folder"),
        (["run", "--task", "a b", "--", "true"], 2, "is no channel"),
        (["token", "--user", "a b"], 2, "is no channel"),
    ):
        result, out, err = await service.cli(*arguments)
        assert (result, out) == (code, b""), arguments
        assert said in err
        assert "Traceback" not in err


async def test_a_token_says_who_may_what(service: ServiceProcess) -> None:
    code, out, _ = await service.cli("token", "--user", "u1", "--project", "p1", "--scope", "publish", "--ttl", "60")
    assert code == 0
    token = out.decode().strip()
    identity = verify(SECRET, token)
    assert (identity.user_id, sorted(identity.projects), identity.may_publish) == ("u1", ["p1"], True)
    claims = json.loads(b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == 60

    elsewhere = ["--url", service.url, "--token", token]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "run", *elsewhere, "--task", "t1", "--project", "p1", "--", "echo", "x"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await process.communicate())[0] == b"x\n"
    eve = (await service.cli("token", "--user", "eve"))[1].decode().strip()
    for who, result, output in ((token, 0, b"x\n"), (eve, 1, b"")):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", "tail", "--url", service.url, "--token", who, "task:t1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (process.returncode, out) == (result, output)
    assert b"Channel access denied: task:t1" in err


async def test_ctrl_c_ends_a_tail_with_its_position(service: ServiceProcess) -> None:
    tail = await service.start_cli("tail", "system", "--json")
    assert tail.stdout is not None
    event = {"type": "system_maintenance_start", "data": {"n": 1}}

    async def seen() -> bytes:
        await service.cli("publish", stdin=json.dumps(event).encode())
        assert tail.stdout is not None
        try:
            async with asyncio.timeout(0.5):
                return await tail.stdout.readline()
        except TimeoutError:
            return b""

    line = await until(seen, timeout=20, what="a live event")
    tail.send_signal(signal.SIGINT)
    out, err = await tail.communicate()
    assert tail.returncode == 130
    last = json.loads((line + out).splitlines()[-1])["position"]
    assert err.decode() == f"position {last}\n"


async def test_the_history_of_a_channel(service: ServiceProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["user_notification", "user_action"]
    lines = [
        json.dumps({"type": kinds[n % 2], "user_id": "local", "project_id": None, "data": {"n": n}}) for n in range(50)
    ]
    code, published, _ = await service.cli("publish", stdin="\n".join(lines).encode())
    assert code == 0
    last = json.loads(published.splitlines()[-1])

    async def shown(*arguments: str) -> list[int]:
        code, out, err = await service.cli("history", "user:local", "--json", *arguments)
        assert (code, err.split()[0]) == (0, "position"), err
        return [event["data"]["n"] for event in events_of(out) if event["type"] in kinds]

    assert await shown() == list(range(50))
    assert await shown("--type", "user_action", "--limit", "3") == [45, 47, 49]
    _, out, _ = await service.cli("history", "user:local", "--json")
    since = events_of(out)[-10]["appended_at"]
    assert await shown("--since", since) == [e["data"]["n"] for e in events_of(out) if e["appended_at"] >= since]
    code, out, _ = await service.cli("history", "user:local", "--type", "user_action", "--limit", "1")
    assert out.endswith(b'user_action user=local {"n":49}\n')
    # In small pages, as from the library; and what it leaves off at is where live events go on.
    monkeypatch.setattr("lastseen.history.PAGE", 7)
    access = issue(SECRET, "local", "admin", [], [], 60, int(time.time()))
    async with Client(service.url, access) as client:
        for newest in (None, 20):
            past = client.history("user:local", types=kinds, newest=newest)
            assert [event["data"]["n"] async for event in past] == list(range(50 - (newest or 50), 50))
            assert past.position is not None
            assert Position.parse(past.position).has_seen(last["partition"], last["offset"])
        with pytest.raises(BadRequest, match="type"):
            await anext(aiter(client.history("user:local", types=["No Type"])))
        with pytest.raises(AccessDenied, match="user:other"):
            await anext(aiter(client.history("user:other")))
    with pytest.raises(AuthenticationFailed):
        await anext(aiter(Client(service.url, "a.b.c").history("user:local")))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nonsense"], "CHANNEL"),
        (["user:u", "--since", "yesterday"], "--since"),
        (["user:u", "--limit", "0"], "--limit"),
    ],
)
async def test_a_history_that_can_t_be_says_why(tmp_path: Path, arguments: list[str], problem: str) -> None:
    code, _, err = await ServiceProcess(tmp_path, 9, {}).cli("history", *arguments)
    assert code == 2
    assert problem in err
