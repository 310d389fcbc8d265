"""What a start may ask for, and what one that can't be run is told."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.commands import Command, CommandName, decode, encode
from lastseen.field_errors import field_errors
from lastseen.task_start import (
    ENV_NAME_PATTERN,
    MAX_COLUMNS,
    MAX_COMMAND_BYTES,
    MAX_ENV_BYTES,
    MAX_ROWS,
    MAX_TIMEOUT_SECONDS,
    TaskStart,
)
from pydantic import ValidationError

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.fixed_dictionaries(
        {"command": st.lists(TEXTS, max_size=9).map(lambda rest: ["program", *rest])},
        optional={
            "env": st.dictionaries(st.from_regex(ENV_NAME_PATTERN, fullmatch=True), TEXTS, max_size=5),
            "cwd": st.none() | TEXTS.filter(bool),
            "timeout_seconds": st.none() | st.floats(0.001, MAX_TIMEOUT_SECONDS) | st.integers(1, 100),
            "pty": st.booleans(),
            "columns": st.integers(1, MAX_COLUMNS),
            "rows": st.integers(1, MAX_ROWS),
            "input": st.booleans(),
            "adapter": st.sampled_from(["plain", "claude"]),
        },
    )
)
def test_a_runner_reads_what_a_node_has_written(given_: dict[str, Any]) -> None:
    start = TaskStart.model_validate(given_)
    command = Command(
        id="i",
        command=CommandName.START,
        task_id="t",
        project_id="p",
        user_id="ann",
        deadline=datetime(2026, 1, 1, tzinfo=UTC),
        node="n",
        data=start.to_data(),
    )
    record = encode(command)
    assert TaskStart.model_validate(decode(record.value, record.headers).data) == start
    assert set(command.data) == set(TaskStart.model_fields), "nothing is left to a default of the runner's version"
    assert {name: command.data[name] for name in given_} == given_


def test_what_is_left_out() -> None:
    start = TaskStart.model_validate({"command": ["true"], "of_a_later_version": 1})
    assert start.to_data() == {
        "command": ["true"],
        "env": {},
        "cwd": None,
        "timeout_seconds": None,
        "pty": False,
        "columns": 80,
        "rows": 24,
        "input": False,
        "adapter": "plain",
    }


@pytest.mark.parametrize(
    ("fields", "field", "detail"),
    [
        ({"command": None}, "command", "must be an array"),
        ({"command": "ls -l"}, "command", "must be an array"),
        ({"command": []}, "command", "at least 1 item"),
        ({"command": ["x"] * 257}, "command", "at most 256 items"),
        ({"command": [""]}, "command.0", "the first argument is the program"),
        ({"command": ["ls", 1]}, "command.1", "valid string"),
        ({"command": ["ls", "a\0b"]}, "command.1", "NUL"),
        ({"command": ["x", "y" * MAX_COMMAND_BYTES]}, "command", f"at most {MAX_COMMAND_BYTES} bytes"),
        ({"env": {"A": 1}}, "env.A", "valid string"),
        ({"env": {"A=B": "c"}}, "env.A=B.[key]", "the name of an environment variable"),
        ({"env": {"A": "\0"}}, "env.A", "NUL"),
        ({"env": {"A": "é" * MAX_ENV_BYTES}}, "env", f"at most {MAX_ENV_BYTES} bytes"),
        ({"env": {f"A{n}": "" for n in range(257)}}, "env", "at most 256 items"),
        ({"cwd": ""}, "cwd", "at least 1 character"),
        ({"cwd": "/\0"}, "cwd", "NUL"),
        ({"timeout_seconds": 0}, "timeout_seconds", "greater than 0"),
        ({"timeout_seconds": "7"}, "timeout_seconds", "valid number"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds", "finite"),
        ({"pty": "yes"}, "pty", "valid boolean"),
        ({"columns": 0}, "columns", "greater than or equal to 1"),
        ({"rows": MAX_ROWS + 1}, "rows", f"less than or equal to {MAX_ROWS}"),
        ({"adapter": "Plain!"}, "adapter", "lower-case"),
    ],
)
def test_what_can_t_be_run_is_told(fields: dict[str, Any], field: str, detail: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TaskStart.model_validate({"command": ["true"], **fields})
    first = field_errors(refused.value)[0]
    assert first.field == field
    assert detail in first.detail
