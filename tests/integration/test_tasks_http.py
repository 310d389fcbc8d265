"""Tasks that are started and commanded over HTTP, by a runner that is nobody's of ours."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil
import pytest
from lastseen.client import Client
from lastseen.commands import Command, CommandName
from lastseen.errors import AccessDenied, BadRequest

from service.adapters.kafka.commands import KafkaCommands
from tests.command_runner import Runner, reading_commands
from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, started, token
from tests.up_process import lastseen
from tests.waiting import until

DEADLINE = 5.0
ANN, BOB, VIEWER, STRANGER = (token(user) for user in ("ann", "bob", "viewer", "stranger"))
RUNS = token("runs", scopes=["publish"])
Nodes = tuple[NodeProcess, NodeProcess]


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def nodes(ground: Ground) -> AsyncIterator[Nodes]:
    settings = {"command_deadline_seconds": DEADLINE, "trust_project_claims": False}
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(ground.node(name, **settings)) for name in ("n1", "n2"))
        one, two = await asyncio.gather(*starting)
        await one.publish(
            {"type": "project_created", "project_id": "shop", "data": {"owner_id": "ann"}},
            {"type": "project_member_added", "project_id": "shop", "data": {"user_id": "bob", "role": "member"}},
            {"type": "project_member_added", "project_id": "shop", "data": {"user_id": "viewer", "role": "viewer"}},
            started("published", project_id="shop", user_id="ann"),
            {"type": "task_output", "task_id": "published", "project_id": "shop", "data": {}},
            started("ended", project_id="shop", user_id="ann"),
            {"type": "task_completed", "task_id": "ended", "project_id": "shop"},
            {"type": "project_created", "project_id": "gone"},
            {"type": "project_deleted", "project_id": "gone"},
        )
        yield one, two
        assert "Traceback" not in one.said + two.said


@pytest.fixture(scope="module")
async def runner(ground: Ground, nodes: Nodes) -> AsyncIterator[Runner]:
    """Reports through the second node whatever the first has taken."""
    runner = Runner(nodes[1])
    async with reading_commands(ground) as consumer:
        running = asyncio.create_task(runner.run(consumer))
        yield runner
        assert not running.done(), running.result()
        running.cancel()


async def post(node: NodeProcess, path: str, body: Message | None, access: str = ANN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as http:
        url = f"{node.url}/api/v1/tasks{path}"
        return await (http.post(url) if body is None else http.post(url, json=body))


async def start(node: NodeProcess, access: str = ANN, **fields: Any) -> httpx.Response:
    return await post(node, "", {"project_id": "shop", "command": ["make", "test"], **fields}, access)


def problem(response: httpx.Response, status: int, code: str) -> Message:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: Message = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["detail"]
    return body


async def test_a_task_is_started_and_all_of_it_comes_behind_its_position(nodes: Nodes, runner: Runner) -> None:
    asked = {"env": {"A": "secret"}, "cwd": "/src", "timeout_seconds": 60, "pty": True, "columns": 100, "input": True}
    response = await start(nodes[0], BOB, **asked)
    assert response.status_code == 202, response.text
    answer = response.json()
    assert answer.keys() == {"task_id", "id", "state", "reason", "partition", "offset", "position"}
    assert (answer["state"], answer["reason"]) == ("applied", None)
    task = answer["task_id"]
    command = runner.started[task]
    assert (command.id, command.user_id, command.project_id, command.node) == (answer["id"], "bob", "shop", "n1")
    expected = {"command": ["make", "test"], "rows": 24, "adapter": "plain", **asked}
    assert command.data == expected
    for node in nodes:
        async with node.client(VIEWER) as viewer:
            await viewer.subscribe(f"task:{task}", after=answer["position"])
            first = await viewer.hear("task_started")
            assert (first["partition"], first["offset"]) == (answer["partition"], answer["offset"])
            assert first["user_id"] == "bob"
            receipt = (await viewer.hear("task_command"))["data"]
            assert (receipt["command"], receipt["by"], receipt["state"]) == ("task_start", "bob", "applied")
            await viewer.hear("task_status_change")
            assert next(event for event in viewer.events if event["task_id"] == task) == first


async def test_a_start_with_its_id_starts_once(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    answers = [await start(node, id="mine") for node in (one, two, one)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({(a.json()["task_id"], a.json()["offset"]) for a in answers}) == 1
    task = answers[0].json()["task_id"]
    assert [command.id for command in runner.read if command.task_id == task] == ["mine"], "appended once"
    at_once = await asyncio.gather(*(start(node, id="at-once", task_id="t1") for node in (one, two, one, two)))
    assert {(a.status_code, a.json()["task_id"]) for a in at_once} == {(202, "t1")}
    problem(await start(one, id="mine", command=["other"]), 409, "id_in_use")
    assert (await start(one, BOB, id="mine")).json()["task_id"] != task, "an id is its user's own"
    await one.publish({"type": "task_completed", "task_id": "t1", "project_id": "shop"})
    for node in nodes:
        again = await start(node, id="at-once", task_id="t1")
        assert (again.status_code, again.json()["offset"]) == (202, at_once[0].json()["offset"])


async def test_a_task_that_there_is_is_not_started(nodes: Nodes, runner: Runner) -> None:
    for task in ("published", "ended"):
        body = problem(await start(nodes[1], task_id=task, id="x"), 409, "task_id_in_use")
        assert (body["task_id"], body["id"]) == (task, "x")
    assert (await start(nodes[0], task_id="theirs")).status_code == 202
    problem(await start(nodes[1], BOB, task_id="theirs"), 409, "task_id_in_use")
    answers = await asyncio.gather(*(start(node, task_id="raced") for node in nodes))
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert {"published", "ended"}.isdisjoint(command.task_id for command in runner.read)


async def test_a_start_that_the_runner_refuses(nodes: Nodes, runner: Runner) -> None:
    for node in nodes:
        body = problem(await start(node, id="no", command=["refused"]), 403, "not_allowed")
        assert (body["state"], body["reason"], body["id"]) == ("rejected", "not_allowed", "no")
        assert body["task_id"] in runner.started


async def test_who_may_not_start(nodes: Nodes, runner: Runner) -> None:
    for access, project in ((VIEWER, "shop"), (STRANGER, "shop"), (ANN, "nothing"), (ADMIN, "gone")):
        problem(await start(nodes[0], access, project_id=project), 403, "access_denied")
    assert (await start(nodes[0], ADMIN)).status_code == 202
    assert (await post(nodes[0], "", {}, "nonsense")).status_code == 401


async def test_a_start_that_is_wrong_names_the_field(nodes: Nodes, runner: Runner) -> None:
    for wrong, field in (
        ({"command": []}, "command"),
        ({"command": ["a\0"]}, "command.0"),
        ({"project_id": "a b"}, "project_id"),
        ({"env": {"A": 1}}, "env.A"),
        ({"task_id": ""}, "task_id"),
        ({"shell": True}, "shell"),
    ):
        body = problem(await start(nodes[0], **wrong), 422, "invalid_request")
        assert [error["field"] for error in body["errors"]] == [field]
    assert problem(await post(nodes[0], "", None), 400, "invalid_json")


async def test_no_runner(nodes: Nodes, runner: Runner) -> None:
    response = await start(nodes[0], command=["silence"], id="again")
    body = problem(response, 503, "no_runner")
    assert response.headers["Retry-After"] == "1"
    assert body["id"] == "again"
    again = problem(await start(nodes[1], command=["silence"], id="again"), 503, "no_runner")
    assert again["task_id"] == body["task_id"]


async def test_commands_say_what_became_of_them(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    assert (await start(one, task_id="t")).status_code == 202
    applied = await post(two, "/t/input", {"input": "ls\n", "id": "a"}, BOB)
    assert (applied.status_code, applied.json()) == (
        200,
        {"id": "a", "task_id": "t", "command": "task_input", "success": True, "state": "applied", "reason": None},
    )
    assert (await post(one, "/t/input", {"input": "ls\n", "id": "a"}, BOB)).json() == applied.json()
    assert runner.applied.count("task_input ls") == 1
    problem(await post(two, "/t/input", {"input": "other", "id": "a"}, BOB), 409, "id_in_use")
    for word in ("pause", "resume", "cancel"):
        assert (await post(one, f"/t/{word}", None)).json()["success"]
    assert (await post(one, "/t/confirm", {"confirmation_id": "c", "approved": False})).json()["success"]
    assert {"task_pause", "task_resume", "task_cancel", "task_confirm"} <= set(runner.applied)
    told = ("command", "success", "state", "reason")
    rejected = problem(await post(one, "/t/input", {"input": "reject"}), 409, "rejected")
    assert [rejected[name] for name in told] == ["task_input", False, "rejected", "no_input"]
    unknown = await post(one, "/t/input", {"input": "silence"})
    assert unknown.status_code == 202
    assert [unknown.json()[name] for name in told] == ["task_input", False, "unknown", "no_runner"]
    late = problem(await post(two, "/ended/cancel", {"id": "late"}), 409, "rejected")
    assert [late[name] for name in ("id", "task_id", *told)] == [
        *("late", "ended", "task_cancel", False, "rejected", "task_ended")
    ]
    runner.works.clear()
    waiting = asyncio.create_task(post(one, "/t/pause", None))
    await until(lambda: runner.read[-1].command == "task_pause", what="the pause being read")
    await asyncio.wait([waiting], timeout=DEADLINE)
    runner.works.set()
    expired = problem(await waiting, 409, "expired")
    assert [expired[name] for name in told] == ["task_pause", False, "expired", "deadline"]


async def test_a_start_from_the_client_and_the_terminal(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    client = Client(one.url, ANN)
    begun = await client.start("shop", ["make"], pty=(100, 30), env={"A": "b"}, task="mine", command_id="s")
    assert (begun.task, begun.id, begun.state) == ("mine", "s", "applied")
    assert await client.start("shop", ["make"], pty=(100, 30), env={"A": "b"}, task="mine", command_id="s") == begun
    data = runner.started["mine"].data
    assert (data["columns"], data["rows"], data["env"], data["pty"]) == (100, 30, {"A": "b"}, True)
    with pytest.raises(BadRequest, match="there is a task mine already") as in_use:
        await client.start("shop", ["make"], task="mine")
    assert in_use.value.code == "task_id_in_use"
    with pytest.raises(AccessDenied, match="allow-list has no such command"):
        await client.start("shop", ["refused"])
    with pytest.raises(BadRequest, match=r"^command\.0: the first argument is the program"):
        await client.start("shop", [""])
    options = ("--url", two.url, "--token", BOB, "--project", "shop")
    program = ("--env", "A=b", "--cwd", "/src", "--timeout", "9", "--input", "--", "make", "--pty")
    assert await lastseen("start", "--task", "typed", *options, *program) == (0, "typed\n", "")
    expected = {"command": ["make", "--pty"], "env": {"A": "b"}, "cwd": "/src", "timeout_seconds": 9, "input": True}
    assert expected.items() <= runner.started["typed"].data.items()
    status, out, err = await lastseen("start", *options, "refused")
    assert (status, out) == (1, "")
    assert err == "Error: the runner's allow-list has no such command\n"
    status, out, err = await lastseen("start", "--task", "t9", "--id", "s9", *options, "silence")
    assert (status, out, err) == (1, "", "task t9 was not started: no runner has taken it (start s9)\n")
    status, _, err = await lastseen("start", *options[:4], "make", LASTSEEN_PROJECT="")
    assert (status, "--project P" in err) == (2, True)

    async def end() -> None:
        await until(lambda: "followed" in runner.begun, what="the start")
        for type_, data in (
            ("task_output", {"stream": "stdout", "offset": 0, "bytes": 3, "text": "hi\n"}),
            ("task_completed", {"exit_code": 0}),
        ):
            await one.publish({"type": type_, "task_id": "followed", "project_id": "shop", "data": data})

    ending = asyncio.create_task(end())
    status, out, _ = await lastseen("start", "--task", "followed", "--follow", *options, "make")
    await ending
    assert (status, out) == (0, "followed\nhi\n")


async def test_who_may_not_command_and_what_is_wrong(nodes: Nodes, runner: Runner) -> None:
    node = nodes[0]
    for access, task in ((VIEWER, "published"), (STRANGER, "published"), (ANN, "nothing")):
        problem(await post(node, f"/{task}/cancel", None, access), 403, "access_denied")
    problem(await post(node, "/nothing/cancel", None, ADMIN), 404, "not_found")
    for path, body, field in (
        ("input", {}, "input"),
        ("input", {"input": "x" * 32_769}, "input"),
        ("confirm", {"confirmation_id": "c"}, "approved"),
        ("cancel", {"id": "a b"}, "id"),
        ("cancel", {"input": "x"}, "input"),
    ):
        found = problem(await post(node, f"/published/{path}", body), 422, "invalid_request")
        assert [error["field"] for error in found["errors"]] == [field]
    problem(await post(node, "/published/input", None), 400, "invalid_json")
    assert "published" not in {command.task_id for command in runner.read}


ECHO = "echo up; while read line; do echo got $line; [ $line = bye ] && exit 3; done"


@asynccontextmanager
async def run_here(node: NodeProcess, task: str, *options: str, script: str = ECHO) -> AsyncIterator[Process]:
    """`lastseen run` with nothing but an address and a token, of a user who is no member of anything."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "run", "--url", node.url, "--token", RUNS, "--task", task),
        *(*options, "--", "sh", "-c", script),
        stdin=DEVNULL,
        stdout=PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("LASTSEEN_")},
    )
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"up"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def hear(node: NodeProcess, task: str, access: str, **headers: str) -> httpx.Response:
    """The answer to who wants to hear the commands of a task, less what comes."""
    given = {"Authorization": f"Bearer {access}", **headers}
    url = f"{node.url}/api/v1/tasks/{task}/commands"
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60, headers=given) as http,
        http.stream("GET", url) as response,
    ):
        if response.status_code != 200:
            await response.aread()
        return response


async def test_what_lastseen_run_runs_is_commanded_from_anywhere(nodes: Nodes) -> None:
    one, two = nodes
    async with run_here(one, "here-1", "--project", "shop", "--input") as process:
        for node in (two, one):
            # The same id twice, over two nodes: once.
            answer = await post(node, "/here-1/input", {"input": "hello\n", "id": "i1"}, BOB)
            assert (answer.status_code, answer.json()["state"]) == (200, "applied"), answer.text
        assert (await post(two, "/here-1/pause", None)).status_code == 200
        assert problem(await post(one, "/here-1/pause", None), 409, "rejected")["reason"] == "already_paused"
        assert (await post(one, "/here-1/resume", None)).status_code == 200
        assert (await post(two, "/here-1/input", {"input": "bye\n"}, BOB)).status_code == 200
        out, _ = await process.communicate()
        assert (out, process.returncode) == (b"got hello\ngot bye\n", 3)


async def test_a_command_arrives_once_though_its_node_is_killed(ground: Ground, nodes: Nodes) -> None:
    one, two = nodes
    async with run_here(one, "here-killed", "--project", "shop", "--input") as process:
        assert process.stdout is not None
        assert (await post(two, "/here-killed/input", {"input": "first\n"})).status_code == 200
        assert await process.stdout.readline() == b"got first\n"
        await one.stop()
        command = Command(
            id="between",
            command=CommandName.INPUT,
            task_id="here-killed",
            project_id="shop",
            user_id="ann",
            deadline=datetime.now(UTC) + timedelta(minutes=5),
            node="n2",
            data={"input": "second\n"},
        )
        async with KafkaCommands(ground.kafka, f"{ground.topic}.commands") as commands:
            await commands.append(command)
            await one.start()
            assert await process.stdout.readline() == b"got second\n"
            await commands.append(command)
        assert (await post(two, "/here-killed/input", {"input": "bye\n"})).status_code == 200
        out, _ = await process.communicate()
        assert (out, process.returncode) == (b"got bye\n", 3)


def _runs(pid: int) -> bool:
    """Whether a process does: that its new parent is slow to notice its end is not for us to wait for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_cancel_reaches_the_children_of_what_lastseen_run_runs(nodes: Nodes) -> None:
    script = "echo up; sh -c 'trap \"\" INT; echo child $$; sleep 60; echo not ended'; echo not reached"
    async with run_here(nodes[0], "here-cancelled", "--project", "shop", script=script) as process:
        assert process.stdout is not None
        child = int((await process.stdout.readline()).split()[1])
        assert problem(await post(nodes[1], "/here-cancelled/input", {"input": "x"}, BOB), 409, "rejected")[
            "reason"
        ] == ("no_input")
        assert (await post(nodes[1], "/here-cancelled/cancel", None, BOB)).status_code == 200
        out, _ = await process.communicate()
        assert out == b""
        assert process.returncode == 128 + signal.SIGTERM
        await until(lambda: not _runs(child), what="the end of the child")
    page = await nodes[1].history("task:here-cancelled")
    assert page["events"][-1]["type"] == "task_cancelled"
    assert page["events"][-1]["data"]["by"] == "bob"


async def test_a_task_with_a_terminal_of_its_own_takes_input(nodes: Nodes) -> None:
    async with run_here(nodes[0], "here-terminal", "--project", "shop", "--pty") as process:
        assert (await post(nodes[1], "/here-terminal/input", {"input": "bye\r"}, BOB)).status_code == 200
        out, _ = await process.communicate()
        assert (out, process.returncode) == (b"bye\r\ngot bye\r\n", 3)


async def test_who_hears_the_commands_of_a_task(nodes: Nodes) -> None:
    ann_publishes, bob_publishes = (token(user, scopes=["publish"]) for user in ("ann", "bob"))
    for access, task, status, code in (
        (ANN, "published", 403, "forbidden"),
        (bob_publishes, "published", 403, "access_denied"),
        (ann_publishes, "unheard-of", 403, "access_denied"),
        (ann_publishes, "ended", 409, "task_ended"),
    ):
        answer = await hear(nodes[0], task, access)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    for access in (ann_publishes, ADMIN):
        answer = await hear(nodes[0], "published", access)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (await hear(nodes[0], "published", ADMIN, **{"Last-Event-ID": "x"})).status_code == 422
