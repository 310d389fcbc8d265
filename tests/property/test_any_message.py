"""Whatever a client says is answered, once for each thing asked, and costs the connection nothing.

A whole node on its twins, in simulated time. How many answers are owed is counted here by the protocol's words,
not by the service's.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lastseen.commands import TO_RUNNING_TASKS
from lastseen.envelope import Event
from lastseen.record import encode

from service.adapters.memory import MemoryLog
from service.adapters.tokens import issue
from service.domain.identity import Identity
from service.node.connection import Connection
from service.node.node import Node, running
from service.node.opening import open_conversation
from service.ports import Epoch
from service.settings import Settings
from service.web.asyncapi import asyncapi
from tests.outside import outside_of
from tests.service_process import SECRET
from tests.simulation import SimulatedPort, simulate
from tests.vectors import Schemas

SCHEMAS = Schemas(asyncapi("node"))
SETTINGS = Settings(command_deadline_seconds=0.5, max_subscriptions=30, high_water_bytes=4096)
MANY = 1_000_000
NOW = 1_800_000_000
ANN = Identity("ann", "", frozenset(), frozenset(), 2**40)
UNASKED = {"caught_up", "fell_behind", "gap", "ping", "unsubscribed", "token_expiring"}
COMMANDS = {name.value for name in TO_RUNNING_TASKS}
OF_THE_START = {"invalid_position", "invalid_time", "invalid_last", "two_starts", "too_many_channels"}
"""Codes of what is wrong with where a subscription is to begin."""
TYPES = ["ping", "pong", "subscribe", "unsubscribe", "ack", "presence", "authenticate", *COMMANDS]
LOG = [
    {"type": "project_created", "project_id": "p", "user_id": "root"},
    {"type": "project_member_added", "project_id": "p", "user_id": "root", "data": {"user_id": "ann"}},
    {"type": "task_started", "task_id": "t", "project_id": "p", "user_id": "ann"},
    *({"type": "task_output", "task_id": "t", "project_id": "p", "data": {"number": n}} for n in range(5)),
    {"type": "task_started", "task_id": "ended", "project_id": "p", "user_id": "ann"},
    {"type": "task_completed", "task_id": "ended", "project_id": "p"},
    {"type": "task_started", "task_id": "alien", "project_id": "q", "user_id": "bob"},
]


class Talk:
    """A client that reads everything, and holds each message against the description of the socket."""

    def __init__(self, node: Node, connection: Connection, port: SimulatedPort) -> None:
        self.node = node
        self.connection = connection
        self.port = port
        self._probes = 0

    def read(self) -> list[dict[str, Any]]:
        """All that has come."""
        messages = self.port.read(MANY)
        for message in messages:
            SCHEMAS.check("server", message)
        return messages

    async def say(self, text: str | bytes) -> list[dict[str, Any]]:
        """What comes of a message; until all that it began has ended, and the connection has answered a ping."""
        self.read()
        acting = asyncio.ensure_future(self.connection.receive(text))
        heard: list[dict[str, Any]] = []
        while not acting.done():
            heard += self.read()
            await asyncio.sleep(0.01)
        await acting
        # Commands answer when their receipts do, here never: at their deadline.
        for _ in range(5):
            await asyncio.sleep(1)
            heard += self.read()
        self._probes += 1
        probe = f"probe {self._probes}"
        await self.connection.receive(json.dumps({"type": "ping", "ref": probe}))
        while not heard or (heard[-1]["type"], heard[-1].get("ref")) != ("pong", probe):
            assert self.port.closed is None
            heard += self.read()
            await asyncio.sleep(0.01)
        return heard[:-1]


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    """A connection of ann's to a ready node."""
    loop = asyncio.get_running_loop()
    clock: Any = SimpleNamespace(now_ms=lambda: NOW * 1000 + round(loop.time() * 1000))
    log = MemoryLog(2, now_ms=clock.now_ms)
    await log.append([encode(Event.model_validate(event)) for event in LOG])
    async with running(SETTINGS, outside_of(log, clock), Epoch(1, "e", 2)) as node:
        port = SimulatedPort(node.services.low_water)
        connection = port.connection = node.connect(port, ANN)
        assert connection is not None
        await open_conversation(connection, "p", None)
        yield Talk(node, connection, port)
        node.disconnect(connection)
        assert not node.services.connections.channels


def in_a_node(test: Callable[[Talk], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with talking() as talk:
            await test(talk)

    simulate(run)


# What is owed for a message, by the words of the protocol.


def is_ref(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    return isinstance(value, str) and len(value) <= 256


def channels_of(message: dict[str, Any]) -> list[str] | None:
    """The channels named, each once; None where they are not as they have to be."""
    if message.get("channels") is not None and message.get("channel") is not None:
        return None
    named = message.get("channels", message.get("channel"))
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return None
    return list(dict.fromkeys(names)) if 0 < len(names) <= 1000 else None


def answers_in(heard: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Less what the server says by itself."""
    return [one for one in heard if one["type"] not in UNASKED and "offset" not in one]


def check_answers(message: dict[str, Any], heard: Sequence[dict[str, Any]]) -> None:
    """One answer for each thing asked, with the `ref` of the message."""
    answers = answers_in(heard)
    ref, type_ = message.get("ref"), message.get("type")
    codes = {answer.get("code") for answer in answers}
    assert "processing_error" not in codes, answers
    if ref is not None and not is_ref(ref):
        assert [answer["code"] for answer in answers] == ["invalid_ref"], answers
        return
    assert all(answer.get("ref") == ref for answer in answers), answers
    if not isinstance(type_, str) or not type_:
        assert [answer["code"] for answer in answers] == ["missing_type"], answers
    elif type_ not in TYPES:
        assert [answer["code"] for answer in answers] == ["unknown_type"], answers
    elif type_ == "pong" or (type_ == "ack" and ref is None and not answers):
        assert answers == []
    elif type_ not in ("subscribe", "unsubscribe"):
        assert len(answers) == 1, answers
    elif (names := channels_of(message)) is None:
        assert len(answers) == 1, answers
        assert codes <= {"channel_required", "both_channels", "too_many_channels"}
    elif type_ == "subscribe" and answers and codes <= OF_THE_START:
        assert len(answers) == 1, answers
    else:
        assert Counter(answer["channel"][:200] for answer in answers) == Counter(name[:200] for name in names)


# Messages, from nearly right to not at all.

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(
    [
        *("user:ann", "broadcast", "project:p", "task:t", "task:ended", "task:alien", "task:none", "system"),
        *("user:bob", "project:q", "task:", "task:\0", "x", "broadcast:x"),
        *("task:" + "x" * 129, "task:" + "é" * 300, "😀" * 300),
    ]
) | st.text(max_size=12)
positions = st.sampled_from(
    [
        *("earliest", "e:", "e:0=-1", "e:0=-1,1=-1", "e:0=3,1=2", "e:0=99999999", "f:0=1", "e:7=1", "e:0=-2"),
        *("e:0=1,0=1", "e:0=9223372036854775807", "e:0=9223372036854775808", "E:0=1", "", ":", "e:0=01", "e:0=١"),
    ]
)
ids = st.sampled_from(["t", "ended", "alien", "none", "", "a b", "x" * 129, "é"])
tokens = st.sampled_from(
    [
        *("", "x", "a.b.c", "é.é.é", "x" * 8193, "eyJhbGciOiJub25lIn0.e30."),
        issue(SECRET, "ann", "", [], [], 3600, 2**33),
        issue(SECRET, "bob", "", [], [], 3600, 2**33),
        issue(SECRET, "ann", "admin", [], [], -3600, 1000),
    ]
)
FIELDS = {
    "channel": names,
    "channels": st.lists(names, max_size=40),
    "after": positions,
    "position": positions,
    "since": st.just("2026-01-01T00:00:00Z"),
    "last": st.integers(-1, 3),
    "token": tokens,
    "task_id": ids,
    "input": st.sampled_from(["", "y", "\0", "x" * 70_000, "é" * 40_000]),
    "confirmation_id": st.sampled_from(["c", "", "x" * 1000]),
    "approved": st.booleans(),
    "id": ids,
}
refs: st.SearchStrategy[object] = st.sampled_from(
    [None, 0, 7, -1, 1.5, "", "r", "x" * 256, "x" * 257, "\0", "é😀", True, [], {}, 10**40, -0.0]
)
MEANT = {
    "subscribe": ["channel", "channels", "after"],
    "unsubscribe": ["channel", "channels"],
    "ack": ["position"],
    "presence": ["channel"],
    "authenticate": ["token"],
    **{command: ["task_id", "input", "confirmation_id", "approved", "id"] for command in COMMANDS},
}


@st.composite
def near(draw: st.DrawFn) -> dict[str, Any]:
    """A message of some type: its fields there or not, right or not, and others besides."""
    type_ = draw(st.sampled_from(TYPES))
    message: dict[str, Any] = {"type": type_}
    for name in MEANT.get(type_, []):
        if draw(st.integers(0, 9)):
            message[name] = draw(FIELDS[name] if draw(st.integers(0, 4)) else anything)
    if draw(st.booleans()):
        message["ref"] = draw(refs)
    if draw(st.integers(0, 5)) == 0:
        message[draw(st.sampled_from([*FIELDS, "type", "extra", ""]))] = draw(anything)
    return message


def as_text(message: dict[str, Any]) -> str:
    return json.dumps(message)


def ping_channels(count: int) -> dict[str, Any]:
    return {"type": "subscribe", "channels": [f"task:{n}" for n in range(count)], "ref": "x" * 256}


@settings(max_examples=120, deadline=None)
@given(st.lists(near() | st.dictionaries(st.sampled_from(["type", "ref", "x"]), anything), min_size=1, max_size=8))
@example([{"type": "ping", "ref": True}])
@example([{"type": "ping", "ref": 10**400}])
@example([ping_channels(1000), ping_channels(1001)])
@example([{"type": "unsubscribe", "channels": [f"{n}" + "x" * 60 for n in range(900)]}])
@example([{"type": "subscribe", "channel": "task:t", "channels": None}])
@example([{"type": "subscribe", "channels": ["task:t", "task:t", "broadcast"], "after": "earliest", "ref": 1}])
@example([{"type": "authenticate", "token": issue(SECRET, "ann", "", [], [], 3600, 2**33), "ref": "a"}])
def test_a_message_that_is_nearly_right(messages: list[dict[str, Any]]) -> None:
    async def talk_of_it(talk: Talk) -> None:
        for message in messages:
            check_answers(message, await talk.say(as_text(message)))
        assert talk.port.most_bytes < 2 * SETTINGS.high_water_bytes + 1000 * 1000

    in_a_node(talk_of_it)


raw = (
    st.text(max_size=200)
    | st.binary(max_size=200)
    | near().map(as_text).flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[:at]))
    | st.tuples(near().map(as_text), st.text(max_size=3), st.integers(0, 500)).map(
        lambda three: three[0][: three[2]] + three[1] + three[0][three[2] :]
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(raw, min_size=1, max_size=6))
@example(["[" * 60_000, "{" * 60_000, '{"a":' * 12_000, '{"type":"ping","a":' + "[" * 150 + "]" * 150 + "}"])
@example([b"\xff\x00", b"", "", "\0", "\ufeff{}", b'{"type":"ping","ref":"\xed\xa0\x80"}'])
@example(['{"type":"ping","ref":"\\ud800"}', '{"type":"ping","ref":"\\udc00\\ud800"}', '{"type":"\\ud800"}'])
@example(['{"type":"ping","ref":1e400}', '{"type":"ping","ref":NaN}', '{"type":"ping","ref":' + "9" * 5000 + "}"])
@example(['{"type":"ping","ref":' + "9" * 4000 + "}", '{"type":"task_cancel","task_id":' + "9" * 4000 + "}"])
@example(['{"type":"dance","type":"ping","ref":1,"ref":2}', '{"type":"ping"} {"type":"ping"}', '"ping"', "null"])
@example(['{"type":"' + "x" * 60_000 + '"}', '{"type":"subscribe","channel":"' + "x" * 60_000 + '"}'])
@example(['{"type":"presence","channel":"task:\\u0000"}', '{"type":"task_input","task_id":"t","input":"\\u0000"}'])
def test_any_text_and_any_bytes(texts: list[str | bytes]) -> None:
    async def talk_of_it(talk: Talk) -> None:
        for text in texts:
            heard = await talk.say(text)
            message = read_strictly(text)
            if message is not None:
                check_answers(message, heard)
                continue
            codes = [answer.get("code") for answer in answers_in(heard)]
            assert codes == ["invalid_json"], (text, codes)

    in_a_node(talk_of_it)


def read_strictly(text: str | bytes) -> dict[str, Any] | None:
    """The object in a text that is JSON by the letter, of a depth that everybody can read."""

    def constant(name: str) -> None:
        raise ValueError(name)

    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        message = json.loads(decoded, parse_constant=constant)
        json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and _depth(message) < 200 else None


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


@pytest.mark.parametrize("text", ['{"type":"ping"}', '{"type":"subscribe","channels":["task:t","x"]}', "x", "{}"])
def test_who_asks_without_reading_waits_and_holds_little(text: str) -> None:
    async def flood(talk: Talk) -> None:
        async def say() -> None:
            for _ in range(2000):
                await talk.connection.receive(text)

        talk.read()
        flooding = asyncio.ensure_future(say())
        await asyncio.sleep(1)
        assert talk.port.buffered() < 4 * SETTINGS.high_water_bytes
        while not flooding.done():
            talk.port.read(100)
            await asyncio.sleep(0.001)
        await flooding
        assert [one for one in await talk.say('{"type":"ping","ref":1}') if one.get("ref") == 1]

    in_a_node(flood)
