"""Both emitters on a real broker and a real node: what they append is what a node appends, and counts once."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from lastseen.emitter import EventEmitter
from lastseen.emitting import Emitted, Emitter
from lastseen.errors import Closed, InvalidEvent, LogUnavailable
from lastseen.names import ProjectEvents, SystemEvents, TaskEvents, UserEvents
from lastseen.sync_emitter import SyncEventEmitter

from service.adapters.kafka.log import KafkaLog, open_log
from service.domain.records import RawRecord, read_record
from service.embedded.free_ports import HOST, choose
from service.embedded.stack import Stack
from tests.freezing import frozen
from tests.nodes import ADMIN, Ground, NodeProcess, new_ground
from tests.waiting import until

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"

Call = Callable[[Emitter[Any], dict[str, Any]], Any]

CALLS: list[Call] = [
    lambda e, more: e.emit_task_event(TaskEvents.OUTPUT, "t", {"text": "é"}, "u", "p", **more),
    lambda e, more: e.emit_project_event(ProjectEvents.MEMBER_ADDED, "p", {"user_id": "m", "role": "viewer"}, **more),
    lambda e, more: e.emit_system_event(SystemEvents.SECURITY_ALERT, {"text": "x"}, 9, **more),
    lambda e, more: e.emit_user_event(UserEvents.NOTIFICATION, "u", {"list": [1, None]}, **more),
]


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    async with ground.node() as node:
        yield node


@pytest.fixture
async def log(ground: Ground) -> AsyncIterator[KafkaLog]:
    async with open_log(ground.kafka, ground.topic) as log:
        yield log


async def raw_at(log: KafkaLog, partition: int, offset: int) -> RawRecord:
    (record,) = [record async for batch in log.read(partition, offset, offset + 1) for record in batch.records]
    return record


async def test_an_emitted_event_is_the_one_that_a_node_would_append(
    ground: Ground, node: NodeProcess, log: KafkaLog
) -> None:
    fixed = {"timestamp": "2026-01-31T12:00:00.5Z", "ttl": 60, "sender_id": "s"}
    async with EventEmitter(ground.kafka, ground.topic) as emitter:
        with SyncEventEmitter(ground.kafka, ground.topic) as blocking:
            for number, call in enumerate(CALLS):
                # Ids of one length, so that they can be taken out of the value.
                places = [
                    await call(emitter, {"id": f"a-{number}", **fixed}),
                    await asyncio.to_thread(call, blocking, {"id": f"s-{number}", **fixed}),
                ]
                raws = [await raw_at(log, place.partition, place.offset) for place in places]
                event = json.loads(raws[0].value or b"")
                del event["channels"]
                (answer,) = await node.publish({**event, "id": f"h-{number}"})
                raws.append(await raw_at(log, answer["partition"], answer["offset"]))
                assert [raw.partition for raw in raws] == [answer["partition"]] * 3
                assert [read_record(raw).id for raw in raws] == [f"{by}-{number}" for by in "ash"]
                assert [shape(raw) for raw in raws] == [shape(raws[0])] * 3


def shape(raw: RawRecord) -> tuple[bytes | None, list[tuple[str, bytes]], bytes]:
    """Key, headers and value, less the id."""
    assert raw.value is not None
    id_ = read_record(raw).id.encode()
    headers = [(name, (value or b"").replace(id_, b"ID")) for name, value in raw.headers]
    assert [name for name, _ in headers] == ["v", "id", "ch", "type", "ttl"]
    return raw.key, headers, raw.value.replace(id_, b"ID")


async def test_a_viewer_gets_each_event_once_though_it_was_emitted_again(ground: Ground, node: NodeProcess) -> None:
    async with node.client(ADMIN) as viewer, EventEmitter(ground.kafka, ground.topic) as emitter:
        await viewer.hear("connection_established")
        await viewer.subscribe("project:shop")
        with SyncEventEmitter(ground.kafka, ground.topic) as blocking:
            first = await emitter.emit_task_event(TaskEvents.STARTED, "build", project_id="shop", user_id="ann")
            again = await emitter.emit_task_event("task_started", "build", project_id="shop", id=first.id)
            by_other = await asyncio.to_thread(
                blocking.emit_task_event, "task_started", "build", None, None, "shop", id=first.id
            )
            last = await asyncio.to_thread(blocking.emit_task_event, TaskEvents.OUTPUT, "build", {"text": "x"})
        assert again.partition == by_other.partition == last.partition == first.partition
        assert first.offset < again.offset < by_other.offset < last.offset
        heard = await viewer.hear("task_output")
        assert (heard["id"], heard["project_id"], heard["offset"]) == (last.id, "shop", last.offset)
        assert [event["offset"] for event in viewer.events] == [first.offset, last.offset]
    # A node knows it as its own.
    (answer,) = await node.publish({"type": "task_started", "task_id": "build", "project_id": "shop", "id": first.id})
    assert answer == {"id": first.id, "partition": first.partition, "offset": first.offset, "duplicate": True}


async def test_events_of_a_key_keep_the_order_of_the_calls(kafka: str, topic: str) -> None:
    async with EventEmitter(kafka, topic) as emitter:
        # From the first one on, that has to connect, and over several batches.
        places = await asyncio.gather(
            *(emitter.emit_task_event("task_output", f"t{n % 3}", {"text": "x" * 5_000}) for n in range(600))
        )

    def send() -> list[Emitted]:
        with SyncEventEmitter(kafka, topic) as blocking:
            futures = [
                blocking.nowait.emit_task_event("task_output", f"t{n % 3}", {"text": "x" * 5_000}) for n in range(600)
            ]
            blocking.flush()
            assert all(future.done() for future in futures)
            return [future.result() for future in futures]

    for found in (places, await asyncio.to_thread(send)):
        for task in range(3):
            own = found[task::3]
            assert len({place.partition for place in own}) == 1
            assert [place.offset for place in own] == sorted(place.offset for place in own)
    assert places[0].partition == found[0].partition


async def test_threads_share_an_emitter(kafka: str, topic: str) -> None:
    with SyncEventEmitter(kafka, topic) as blocking:

        def work(thread: int) -> list[Emitted]:
            return [blocking.emit_user_event("user_action", f"u{thread}", {"n": n}) for n in range(20)]

        found = await asyncio.gather(*(asyncio.to_thread(work, thread) for thread in range(6)))
    assert len({place.id for places in found for place in places}) == 120
    for places in found:
        assert [place.offset for place in places] == sorted(place.offset for place in places)


async def test_the_readmes_examples_run(kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.read_text().partition("## Emitters")[2].partition("\n## ")[0]
    web, worker, script = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"shared_task": lambda function: function}

    def run(program: str) -> None:
        exec(program.replace('"localhost:9092"', f"{kafka!r}, {topic!r}"), names)

    run(web)
    app = names["app"]
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://example") as http,
    ):
        answer = (await http.post("/builds/build-7")).json()
    monkeypatch.setenv("LASTSEEN_KAFKA", kafka)
    await asyncio.to_thread(run, worker.replace("SyncEventEmitter()", f"SyncEventEmitter(topic={topic!r})"))
    await asyncio.to_thread(names["notify"], "ann", "done")
    names["emitter"].close()
    await asyncio.to_thread(run, script)
    assert len(names["places"]) == 1_000
    async with open_log(kafka, topic) as log:
        assert read_record(await raw_at(log, answer["partition"], answer["offset"])).id == answer["id"]
        progress = read_record(await raw_at(log, answer["partition"], answer["offset"] + 1))
        assert progress.channels == ("task:build-7", "project:shop")
        assert sum(held.next for held in (await log.bounds()).values()) >= 2 + 1 + 1_000


async def test_an_emitter_is_used_while_it_is_open(kafka: str, topic: str) -> None:
    emitter = EventEmitter(kafka, topic)
    with pytest.raises(Closed, match="async with"):
        await emitter.emit_user_event("user_action", "u")
    async with emitter:
        await emitter.emit_user_event("user_action", "u")
        with pytest.raises(InvalidEvent, match="user_id"):
            await emitter.emit_user_event("user_action", "a b")
    with pytest.raises(Closed):
        await emitter.emit_user_event("user_action", "u")
    blocking = SyncEventEmitter(kafka, topic)
    await asyncio.to_thread(blocking.emit_user_event, "user_action", "u")
    blocking.close()
    blocking.close()
    with pytest.raises(Closed):
        blocking.emit_user_event("user_action", "u")


async def test_an_event_that_kafka_refuses_is_told_and_hinders_no_other(kafka: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        limit = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "2000"})
        await admin.alter_configs([limit])
    finally:
        await admin.close()
    async with EventEmitter(kafka, topic) as emitter:
        with SyncEventEmitter(kafka, topic) as blocking:

            async def emit(bytes_: int) -> tuple[Emitted | BaseException, ...]:
                call = ("user_action", "u", {"text": "x" * bytes_})
                return await asyncio.gather(
                    emitter.emit_user_event(*call),
                    asyncio.to_thread(blocking.emit_user_event, *call),
                    return_exceptions=True,
                )

            async def is_refused() -> bool:
                # The broker knows its new limit a moment later.
                return all(isinstance(answer, InvalidEvent) for answer in await emit(3_000))

            # From here on the broker expects the producer's numbers without a hole.
            await emit(100)
            await until(is_refused, what="Kafka refusing what is too large")
            for answer in await emit(3_000):
                assert isinstance(answer, InvalidEvent)
                assert (answer.code, answer.field) == ("too_large", "data")
            places = await emit(100)
            assert all(isinstance(place, Emitted) for place in places), places


FORKING = """
import json, os, sys, threading
from lastseen.sync_emitter import SyncEventEmitter

emitter = SyncEventEmitter(topic=sys.argv[1])
emitter.emit_task_event("task_started", "t", project_id="p")
going = True

def busy():
    while going:
        emitter.nowait.emit_user_event("user_action", "busy", {"text": "x" * 1000})

threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
held, free = threading.Event(), threading.Event()

def hold():
    # What other threads hold at a fork nobody lets go of in the child.
    with emitter._connecting, emitter._in_flight._room, emitter._records._projects._lock:
        held.set()
        free.wait()

holder = threading.Thread(target=hold)
threads.append(holder)
children = []
for number in range(8):
    reader, writer = os.pipe()
    if number == 7:
        holder.start()
        held.wait()
    if (child := os.fork()) == 0:
        emitter.nowait.emit_task_event("task_output", "t", {"child": number})
        places = [emitter.emit_task_event("task_output", "t", {"child": number}) for _ in range(3)]
        os.write(writer, json.dumps(places).encode())
        # As a worker of a pre-forking server ends, with everything that is collected then.
        threads.clear()
        sys.exit(0)
    os.close(writer)
    children.append((child, reader))
free.set()
places = [emitter.emit_task_event("task_output", "t", {"parent": n}) for n in range(3)]
for child, reader in children:
    places += json.loads(os.read(reader, 10_000))
    assert os.waitpid(child, 0)[1] == 0
going = False
for thread in threads:
    thread.join()
emitter.close()
print(json.dumps(places))
"""


async def test_an_emitter_works_in_forked_children_and_goes_on_in_the_parent(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    program = tmp_path / "forking.py"
    program.write_text(FORKING)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), topic),
        env={**os.environ, "LASTSEEN_KAFKA": kafka},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0
    places = [Emitted(*place) for place in json.loads(out)]
    assert len({place.id for place in places}) == 3 + 8 * 3
    async with open_log(kafka, topic) as log:
        for place in places:
            record = read_record(await raw_at(log, place.partition, place.offset))
            assert (record.id, record.channels) == (place.id, ("task:t", "project:p"))


Emit = Callable[..., Awaitable[Emitted]]


async def fails_in_time(emit: Emit, timeout: float) -> str:
    """The id of the event that could not be confirmed."""
    started = time.monotonic()
    with pytest.raises(LogUnavailable) as caught:
        await emit()
    assert time.monotonic() - started < timeout + 3
    assert caught.value.id is not None
    return caught.value.id


async def emit_again(emit: Emit, id_: str) -> Emitted:
    """Emit with that id until it is confirmed."""

    async def answered() -> Emitted | None:
        with suppress(LogUnavailable):
            return await emit(id_)
        return None

    place = await until(answered, timeout=20, what="Kafka's answer")
    assert place is not None
    return place


async def test_a_frozen_kafka_is_an_error_in_time_and_then_passes(servers: Stack, topic: str) -> None:
    timeout = 1.0

    def from_loop(emitter: EventEmitter) -> Emit:
        return lambda id_=None: emitter.emit_user_event("user_action", "u", id=id_)

    def from_thread(emitter: SyncEventEmitter) -> Emit:
        return lambda id_=None: asyncio.to_thread(emitter.emit_user_event, "user_action", "u", id=id_)

    async with AsyncExitStack() as stack:
        # Of each kind one that is connected when it happens, and one that is not.
        emits = [
            from_loop(await stack.enter_async_context(EventEmitter(servers.kafka, topic, timeout=timeout)))
            for _ in range(2)
        ] + [
            from_thread(stack.enter_context(SyncEventEmitter(servers.kafka, topic, timeout=timeout))) for _ in range(2)
        ]
        await emits[0]()
        await emits[2]()
        with frozen(servers.supervisor.pids["kafka-1"]):
            ids = await asyncio.gather(*(fails_in_time(emit, timeout) for emit in emits))
        places = [await emit_again(emit, id_) for emit, id_ in zip(emits, ids, strict=True)]
    assert [place.id for place in places] == ids
    assert len({place.partition for place in places}) == 1


async def test_no_kafka_and_no_topic_are_errors_in_time(kafka: str) -> None:
    (port,) = choose(1)
    for address, topic in ((f"{HOST}:{port}", "events"), (kafka, "no-such-topic")):
        started = time.monotonic()
        async with EventEmitter(address, topic, timeout=0.6) as emitter:
            with pytest.raises(LogUnavailable, match="event lost-and-found"):
                await emitter.emit_system_event("system_security_alert", id="lost-and-found")
        with (
            SyncEventEmitter(address, topic, timeout=0.6) as blocking,
            pytest.raises(LogUnavailable, match="event lost-and-found"),
        ):
            await asyncio.to_thread(blocking.emit_system_event, "system_security_alert", id="lost-and-found")
        assert time.monotonic() - started < 12
