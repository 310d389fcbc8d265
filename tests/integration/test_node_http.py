"""`POST /api/v1/events` as producers see it: every answer that docs/protocol.md names."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from service.embedded.stack import Stack
from tests.freezing import frozen
from tests.nodes import ADMIN, PRODUCER, Ground, Message, NodeProcess, new_ground, output, started, token
from tests.waiting import until

EVENT: Message = {"type": "user_action", "user_id": "u", "data": {"number": 1}}


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    """A node without a log writer; nothing that is posted may make it log a traceback."""
    async with ground.node(max_body_bytes=2_000_000, kafka_timeout_seconds=4) as node:
        yield node
        assert "Traceback" not in node.said


def problem(response: httpx.Response, status: int, code: str) -> list[Message]:
    """Check that it is such a problem; gives its `errors`."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["title"]
    assert body["detail"]
    errors: list[Message] = body.get("errors", [])
    assert all(error.keys() == {"field", "detail", "code"} for error in errors)
    return errors


async def test_one_event_is_answered_with_its_place(node: NodeProcess) -> None:
    response = await node.post(EVENT)
    assert response.status_code == 202
    answer = response.json()
    assert answer.keys() == {"id", "partition", "offset", "duplicate"}
    assert answer["duplicate"] is False
    async with node.client(token("u"), after="earliest") as client:
        event = await client.hear("user_action")
    assert (event["id"], event["partition"], event["offset"]) == (answer["id"], answer["partition"], answer["offset"])


async def test_a_retry_is_answered_with_the_place_of_the_first(node: NodeProcess) -> None:
    for number in range(30):
        event = {**EVENT, "id": f"again-{number}"}
        first = (await node.post(event)).json()
        again = (await node.post([event, event])).json()
        assert first["duplicate"] is False
        assert again == [{**first, "duplicate": True}] * 2
    twice = {**EVENT, "id": "twice-in-one"}
    first, second = (await node.post([twice, twice])).json()
    assert (first["duplicate"], second) == (False, {**first, "duplicate": True})


async def test_retries_at_the_same_time_agree_on_a_place(node: NodeProcess) -> None:
    event = {**EVENT, "id": "at-once"}
    responses = await asyncio.gather(*(node.post(event) for _ in range(8)))
    answers = [response.json() for response in responses]
    assert sorted(answer["duplicate"] for answer in answers) == [False, *[True] * 7]
    assert len({(answer["partition"], answer["offset"]) for answer in answers}) == 1


async def test_an_array_is_judged_event_by_event(node: NodeProcess) -> None:
    bad = {"type": "user_action"}
    answers = (await node.post([EVENT, bad, "nonsense", {**EVENT, "data": {"text": "a\0b"}}, EVENT])).json()
    assert [answer.get("index") for answer in answers] == [None, 1, 2, 3, None]
    assert answers[1]["error"]["field"] == "user_id"
    assert answers[2]["error"].keys() == {"field", "detail", "code"}
    assert (answers[3]["error"]["field"], answers[3]["error"]["code"]) == ("data.text", "nul")
    assert answers[4]["partition"] == answers[0]["partition"]
    assert answers[4]["offset"] > answers[0]["offset"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ("nonsense", ""),
        (None, ""),
        (7, ""),
        ({"type": "Bad Name", "category": "user", "user_id": "u"}, "type"),
        ({"type": "user_action"}, "user_id"),
        ({"type": "task_output", "data": {}}, "task_id"),
        ({"type": "project_updated"}, "project_id"),
        ({"type": "my_own", "user_id": "u"}, "category"),
        ({"type": "my_own", "user_id": "u", "category": "weather"}, "category"),
        ({"type": "task_output", "task_id": "t", "category": "user", "user_id": "u"}, "category"),
        ({**EVENT, "user_id": "a b"}, "user_id"),
        ({**EVENT, "user_id": ""}, "user_id"),
        ({**EVENT, "user_id": "u" * 129}, "user_id"),
        ({**EVENT, "id": "x\n"}, "id"),
        ({**EVENT, "id": 7}, "id"),
        ({**EVENT, "priority": 11}, "priority"),
        ({**EVENT, "priority": "5"}, "priority"),
        ({**EVENT, "ttl": 0}, "ttl"),
        ({**EVENT, "ttl": 1e400}, "ttl"),
        ({**EVENT, "timestamp": "yesterday"}, "timestamp"),
        ({**EVENT, "timestamp": "2026-01-01T00:00:00"}, "timestamp"),
        ({**EVENT, "timestamp": 1_700_000_000}, "timestamp"),
        ({**EVENT, "timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({**EVENT, "data": []}, "data"),
        ({**EVENT, "data": {"a": [{"b": "\0"}]}}, "data.a[0].b"),
        ({**EVENT, "data": {"a\0": 1}}, "data.'a\\x00'"),
        ({**EVENT, "data": {"text": "x" * 262_144}}, "data"),
        ({**EVENT, "channels": ["system"]}, "channels"),
        ({**EVENT, "offset": 7}, "offset"),
        ({"type": "project_member_added", "project_id": "p", "data": {"user_id": "a b"}}, "data.user_id"),
        ([], ""),
        ([EVENT] * 1001, ""),
        ([{"type": "user_action"}] * 2, "user_id"),
    ],
)
async def test_a_refused_event_names_the_field(node: NodeProcess, body: object, field: str) -> None:
    response = await node.post(body, token("root", role="admin"))
    if b"Infinity" in response.request.content:
        problem(response, 400, "invalid_json")
        return
    errors = problem(response, 422, response.json()["code"])
    assert errors[0]["field"] == field, errors
    assert "\0" not in response.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"{",
        b"\xff",
        b'{"type":"user_action","user_id":"u","data":{"a":NaN}}',
        b'"\xed\xa0\x80"',
        rb'{"type":"user_action","user_id":"u","data":{"a":"\ud800"}}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
async def test_what_is_no_json_is_said_to_be_none(node: NodeProcess, body: bytes) -> None:
    problem(await node.post(body), 400, "invalid_json")


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":-' + b"9" * 300 + b"}",
        b'{"a":1e308,"b":0.1e-400}',
        b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
        '{"\u2028</script>":"\ufeff\U0010ffff\\ud83d\\ude00\\\\u0000"}'.encode(),
        b'{"offset":1,"partition":2,"replay":["x"],"a":1,"a":2}',
    ],
)
async def test_odd_data_comes_as_it_was_given_or_is_refused(node: NodeProcess, data: bytes) -> None:
    id_ = f"odd-{hash(data)}"
    response = await node.post(b'{"type":"user_action","user_id":"odd","id":"%b","data":%b}' % (id_.encode(), data))
    if response.status_code == 202:
        async with node.client(token("odd"), after="earliest") as client:
            event = await client.hear("user_action", id=id_)
        assert event["data"] == json.loads(data)
        assert event["offset"] == response.json()["offset"]
    else:
        assert response.status_code in (400, 422), response.text
        problem(response, response.status_code, response.json()["code"])


async def test_who_may_not_publish(node: NodeProcess) -> None:
    for access in (None, "nonsense", token("u", scopes=["publish"], ttl=-60)):
        response = await node.post(EVENT, access)
        problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"].startswith("Bearer")
    problem(await node.post(EVENT, token("u", projects=["p"], scopes=["publish:rights"])), 403, "forbidden")
    created = {"type": "project_created", "project_id": "p"}
    (error,) = problem(await node.post(created), 403, "forbidden")
    assert error["field"] == "type"
    assert (await node.post(created, token("u", scopes=["publish", "publish:rights"]))).status_code == 202
    assert (await node.post([created, EVENT])).json()[0]["error"]["code"] == "forbidden"


async def test_a_body_over_the_limit_is_cut_off(node: NodeProcess) -> None:
    problem(await node.post(b'"' + b"x" * 2_100_000 + b'"'), 413, "too_large")

    async with asyncio.timeout(20):
        with pytest.raises(ConnectionError):
            await send_for_ever(node)


async def send_for_ever(node: NodeProcess) -> None:
    """Post a body that has no end."""
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {PRODUCER}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    try:
        while True:
            writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            await writer.drain()
    finally:
        writer.close()


async def test_a_task_keeps_its_project(node: NodeProcess) -> None:
    (place,) = await node.publish(started("kept", project_id="p1"))
    (filled,) = await node.publish(output("kept", 1))
    assert filled["partition"] == place["partition"]
    async with node.client(project_id="p1", after="earliest") as client:
        assert (await client.hear("task_output"))["project_id"] == "p1"
    (error,) = problem(await node.post(output("kept", 2, project_id="p2")), 409, "conflict")
    assert error["field"] == "project_id"
    await node.publish(started("alone"))
    problem(await node.post(output("alone", 1, project_id="p2")), 409, "conflict")


async def test_a_start_that_was_refused_fixes_nothing(node: NodeProcess) -> None:
    too_long = started("unborn", project_id="wrong", data={"text": "x" * 262_144})
    problem(await node.post(too_long), 422, "too_large")
    (place,) = await node.publish(started("unborn", project_id="right"))
    answers = (
        await node.post([started("unborn-2", project_id="wrong", data={"a": "\0"}), output("unborn-2", 1)])
    ).json()
    assert "error" in answers[0]
    async with node.client() as client:
        await client.subscribe("task:unborn", after="earliest")
        event = await client.hear("task_started")
        assert (event["project_id"], event["offset"]) == ("right", place["offset"])
        await client.subscribe("task:unborn-2", after="earliest")
        assert (await client.hear("task_output"))["project_id"] is None


async def test_what_is_not_there_is_a_problem_too(node: NodeProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        problem(await http.get(f"{node.url}/nowhere"), 404, "not_found")
        problem(await http.get(f"{node.url}/api/v1/events/x/y/z"), 404, "not_found")
        other = await http.put(f"{node.url}/api/v1/events")
        problem(other, 405, "method_not_allowed")
        assert other.headers["allow"] == "GET, POST"
        problem(await http.get(f"{node.url}/ws"), 426, "upgrade_required")
        assert (await http.get(f"{node.url}/healthz")).json() == {"status": "ok"}
        ready = await http.get(f"{node.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")


async def test_while_kafka_is_frozen_it_says_when_to_come_back(node: NodeProcess, servers: Stack) -> None:
    event = {**EVENT, "id": "while-frozen"}
    with frozen(servers.supervisor.pids["kafka-1"]):
        began = time.monotonic()
        response = await node.post(event, ADMIN)
        assert time.monotonic() - began < 8
        problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1

    async def taken() -> Message | None:
        response = await node.post(event, ADMIN)
        place: Message | None = response.json() if response.status_code == 202 else None
        return place

    place = await until(taken, timeout=30, what="the event being taken")
    assert place is not None
    (behind,) = await node.publish({**EVENT, "id": "behind-frozen"})
    async with node.client(token("u"), after="earliest") as client:
        # Caught up means with the tail, which may have yet to notice that Kafka is back.
        await client.hear(EVENT["type"], id="behind-frozen", partition=behind["partition"])
    seen = [event["offset"] for event in client.events if event["id"] == "while-frozen"]
    assert len(seen) == 1, "though perhaps appended twice"
    assert seen[0] <= place["offset"]


async def test_metrics_tell_what_the_node_does(node: NodeProcess) -> None:
    async def read() -> dict[str, float]:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"{node.url}/metrics")
        assert response.status_code == 200
        lines = [line for line in response.text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    before = await read()
    async with node.client(token("watcher")) as client:
        await client.begin()
        await node.publish(output("measured", 1, id="once"), output("measured", 2))
        await client.quiet()
        during = await read()
    assert during["lastseen_connections"] == before["lastseen_connections"] + 1
    assert during["lastseen_appended_events_total"] == before["lastseen_appended_events_total"] + 2
    assert during["lastseen_window_bytes"] > 0
    assert "lastseen_buffered_bytes" in during
    assert "process_resident_memory_bytes" in during
    counted = [during[f'lastseen_gc_pause_seconds_bucket{{le="{bound}"}}'] for bound in ("0.001", "0.1", "+Inf")]
    assert counted == sorted(counted)
    assert counted[-1] == during["lastseen_gc_pause_seconds_count"]
    assert 0 <= during["lastseen_gc_longest_pause_seconds"] <= during["lastseen_gc_pause_seconds_sum"]
    assert 'python_gc_objects_collected_total{generation="0"}' in during
