"""The AsyncAPI document: complete, whole, and true of the vectors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from lastseen.commands import TO_RUNNING_TASKS

from service.domain import messages
from service.domain.command_requests import RESULT_TYPES, command_result
from service.domain.commands import CommandResult, State
from service.domain.messages import Message, Start
from service.domain.protocol import SUBPROTOCOL
from service.domain.requests import parse_message
from service.node.handlers.standard import standard_handlers
from service.web.asyncapi import asyncapi
from tests.vectors import CONVERSATIONS, Schemas, load

DOCUMENT = asyncapi("127.0.0.1:8080")
SCHEMAS = Schemas(DOCUMENT)
POSITION = "e:0=1"


def test_each_message_that_is_acted_on_is_described() -> None:
    assert SCHEMAS.names("client") == standard_handlers().types


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from references(one)


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    for reference in found:
        at: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]
    told = set(references(DOCUMENT["operations"]))
    everything = {f"#/channels/socket/messages/{name}" for name in DOCUMENT["channels"]["socket"]["messages"]}
    assert everything <= told, "each message belongs to an operation"
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert SUBPROTOCOL in DOCUMENT["info"]["description"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_there_is_a_whole_message_of_each_type(side: str) -> None:
    shown = {SCHEMAS.check(side, message) for message in load("messages")[side]}
    assert shown == SCHEMAS.names(side)


def test_whole_messages_of_clients_are_understood() -> None:
    handlers = standard_handlers()._handlers
    for message in load("messages")["client"]:
        parsed = parse_message(json.dumps(message))
        handlers[parsed.type].parse(parsed.fields, parsed.ref)


def built() -> Iterator[Message]:
    start = Start("user:u", POSITION, live=True)
    yield messages.connection_established(
        connection_id="c", now_ms=0, user_id="u", node="n", heartbeat_seconds=30, starts=[start, start]
    )
    yield messages.subscription_result("broadcast", POSITION, True, "r")
    yield messages.unsubscription_result("anything at all", None)
    yield messages.caught_up(["task:t"], POSITION, closed=False)
    yield messages.fell_behind(["task:t"], POSITION)
    yield messages.gap(["task:t"], POSITION, POSITION, "lost")
    yield messages.ping(0, POSITION)
    yield messages.pong(0, 1.5)
    yield messages.ack_result(POSITION, 1)
    yield messages.unsubscribed("task:t", "rights")
    yield messages.token_expiring(0)
    yield messages.authentication_result(0, None)
    yield messages.presence_result("task:t", [], ["n2"], None)
    yield messages.error("m", "code", 0, ref=1, channel="c", retry_after=1.0)
    for command in TO_RUNNING_TASKS:
        for state in State:
            yield command_result(CommandResult("i", command, "t", state), None)


def test_what_the_builders_build_is_as_described() -> None:
    names = {SCHEMAS.check("server", json.loads(json.dumps(message))) for message in built()}
    assert names == SCHEMAS.names("server") - {"event"}
    assert set(RESULT_TYPES.values()) <= names


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_vectors_name_what_there_is(name: str) -> None:
    for vector in load(name)["vectors"]:
        for answer in vector["answers"]:
            known = {**answer, "offset": 0} if answer.get("replay") else answer
            name_ = "event" if "offset" in known else str(answer["type"])
            assert name_ in SCHEMAS.names("server")
            properties = DOCUMENT["components"]["messages"][f"server.{name_}"]["payload"]["properties"]
            assert answer.keys() <= properties.keys()


def test_each_message_type_of_clients_has_a_vector() -> None:
    asked = set()
    for name in CONVERSATIONS:
        for vector in load(name)["vectors"]:
            try:
                asked.add(json.loads(vector["request"])["type"])
            except (ValueError, TypeError, KeyError):
                continue
    assert {one for one in asked if isinstance(one, str)} >= SCHEMAS.names("client")
