"""The messages that command a task: what they mean, what is wrong with them, and what answers them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.channels import ID_PATTERN
from lastseen.commands import (
    MAX_INPUT_BYTES,
    TO_RUNNING_TASKS,
    Command,
    CommandName,
    UnreadableCommand,
    decode,
    encode,
)
from pydantic import JsonValue

from service.domain.command_requests import RESULT_TYPES, CommandRequest, command_result, parser
from service.domain.commands import CommandResult, State
from service.domain.requests import Fields, ProtocolError

IDS = st.from_regex(ID_PATTERN, fullmatch=True)


def read(fields: Fields) -> CommandRequest:
    return parser(CommandName(str(fields["type"])))(fields, fields.get("ref"))


def test_what_a_client_may_ask() -> None:
    assert read({"type": "task_input", "task_id": "t", "input": "ls\n", "id": "a", "ref": 1}) == CommandRequest(
        CommandName.INPUT, "t", {"input": "ls\n"}, "a", 1
    )
    for name in (CommandName.CANCEL, CommandName.PAUSE, CommandName.RESUME):
        assert read({"type": name, "task_id": "t", "input": "x"}) == CommandRequest(name, "t")
    assert read(
        {"type": "task_confirm", "task_id": "t", "confirmation_id": "c 1", "approved": False}
    ) == CommandRequest(CommandName.CONFIRM, "t", {"confirmation_id": "c 1", "approved": False})


CONFIRM = {"type": "task_confirm", "task_id": "t", "confirmation_id": "c", "approved": True}
INPUT = {"type": "task_input", "task_id": "t", "input": "x"}


@pytest.mark.parametrize(
    ("fields", "message", "code"),
    [
        ({"type": "task_input", "input": "x"}, "Task ID and input required", "task_id_and_input_required"),
        ({"type": "task_input", "task_id": "t"}, "Task ID and input required", "task_id_and_input_required"),
        (INPUT | {"task_id": 7}, "Task ID and input required", "task_id_and_input_required"),
        (INPUT | {"task_id": ""}, "Task ID and input required", "task_id_and_input_required"),
        (INPUT | {"input": ""}, "Task ID and input required", "task_id_and_input_required"),
        (INPUT | {"input": ["x"]}, "Task ID and input required", "task_id_and_input_required"),
        (INPUT | {"input": "é" * (MAX_INPUT_BYTES // 2) + "x"}, "input must be at most", "input_too_long"),
        (INPUT | {"id": "no id"}, "id must be 1 to 128", "invalid_id"),
        (INPUT | {"id": 7}, "id must be 1 to 128", "invalid_id"),
        (INPUT | {"id": ""}, "id must be 1 to 128", "invalid_id"),
        ({"type": "task_cancel"}, "Task ID required", "task_id_required"),
        ({"type": "task_pause", "task_id": None}, "Task ID required", "task_id_required"),
        ({"type": "task_resume", "task_id": {}}, "Task ID required", "task_id_required"),
        ({"type": "task_confirm"}, "Task ID required", "task_id_required"),
        ({"type": "task_cancel", "task_id": "a b"}, "task_id must be 1 to 128", "invalid_task_id"),
        ({"type": "task_cancel", "task_id": "a\n"}, "task_id must be 1 to 128", "invalid_task_id"),
        (CONFIRM | {"confirmation_id": None}, "confirmation_id must be a text", "confirmation_id_required"),
        (CONFIRM | {"confirmation_id": "c" * 257}, "confirmation_id must be a text", "confirmation_id_required"),
        (CONFIRM | {"approved": 1}, "approved must be true or false", "approved_required"),
        (CONFIRM | {"approved": None}, "approved must be true or false", "approved_required"),
    ],
)
def test_what_is_wrong_is_said(fields: Fields, message: str, code: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        read({**fields, "ref": "r"})
    assert (caught.value.code, caught.value.ref) == (code, "r")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3), max_leaves=4
)


@given(st.sampled_from(TO_RUNNING_TASKS), st.dictionaries(st.text(max_size=5), JSON), st.data())
def test_any_members_are_read_or_refused(name: CommandName, more: dict[str, JsonValue], data: st.DataObject) -> None:
    fields = dict(more)
    for member in ("task_id", "input", "id", "confirmation_id", "approved"):
        if data.draw(st.booleans()):
            fields[member] = data.draw(JSON | IDS)
    try:
        request = parser(name)(fields, None)
    except ProtocolError:
        return
    command = Command(
        id=request.id or "made-up",
        command=request.command,
        task_id=request.task_id,
        user_id="ann",
        deadline=datetime.now(UTC),
        node="n",
        data=request.data,
    )
    assert command.command is name, "what a client may ask, a runner can be told"


@given(
    st.builds(
        Command,
        id=IDS,
        command=st.just(CommandName.INPUT),
        task_id=IDS,
        project_id=st.none() | IDS,
        user_id=st.text(min_size=1, max_size=9),
        role=st.none() | st.text(max_size=9),
        deadline=st.datetimes(min_value=datetime.fromisoformat("1970-01-02")).map(
            lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, tzinfo=UTC)
        ),
        node=st.text(max_size=9),
        data=st.fixed_dictionaries({"input": st.text(max_size=50)}),
    )
)
def test_a_runner_reads_what_a_node_has_written(command: Command) -> None:
    key, value, headers = encode(command)
    assert key == command.task_id.encode()
    assert dict(headers) == {"v": b"1", "id": command.id.encode(), "type": b"task_input"}
    assert decode(value, headers) == command


GOOD = encode(
    Command(id="a", command=CommandName.CANCEL, task_id="t", user_id="u", deadline=datetime.now(UTC), node="n")
)


@pytest.mark.parametrize(
    ("value", "headers", "why"),
    [
        (GOOD.value, (), "record version None"),
        (GOOD.value, (("v", b"2"),), "record version b'2'"),
        (None, GOOD.headers, "no value"),
        (b"{", GOOD.headers, "command: Invalid JSON"),
        (GOOD.value.replace(b"task_cancel", b"task_dance"), GOOD.headers, "command: Input should be 'task_start'"),
        (GOOD.value.replace(b"task_cancel", b"task_input"), GOOD.headers, "task_input needs data.input"),
        (GOOD.value.replace(b"task_cancel", b"task_confirm"), GOOD.headers, "task_confirm needs data.confirmation_id"),
        (GOOD.value.replace(b"task_cancel", b"task_start"), GOOD.headers, "task_start: data.command: Field required"),
        (GOOD.value.replace(b'"task_id":"t"', b'"task_id":"no id"'), GOOD.headers, "task_id: String should match"),
    ],
)
def test_a_runner_is_told_what_is_no_command(
    value: bytes | None, headers: tuple[tuple[str, bytes], ...], why: str
) -> None:
    with pytest.raises(UnreadableCommand, match=why):
        decode(value, headers)


def test_each_command_has_its_answer() -> None:
    assert set(RESULT_TYPES) == set(TO_RUNNING_TASKS)
    applied = CommandResult("a", CommandName.INPUT, "t", State.APPLIED)
    assert command_result(applied, "r") == {
        "type": "input_result",
        "task_id": "t",
        "id": "a",
        "success": True,
        "state": "applied",
        "reason": None,
        "ref": "r",
    }
    for state in State:
        answer = command_result(CommandResult("a", CommandName.CANCEL, "t", state, "why"), None)
        assert (answer["type"], answer["success"]) == ("cancel_result", state is State.APPLIED)
        assert "ref" not in answer
