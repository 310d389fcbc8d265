"""What Claude CLI says in its print mode, line by line as it is published, and what is said to it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lastseen.chunks import Chunk, Chunker
from lastseen.envelope import MAX_EVENT_BYTES, Event

from service.running.adapter import Published, Said
from service.running.adapters.claude import DENIED, MAX_LINE_BYTES, MAX_OPEN, ClaudeAdapter
from service.running.adapters.claude_messages import fields_of

STAND_IN = str(Path(__file__).parent.parent / "stand_in_claude.py")
FORMAT = ["--output-format", "stream-json", "--input-format", "stream-json", "--verbose"]
ASKING = ["--permission-prompt-tool", "stdio"]
FLAGS = [*FORMAT, *ASKING]

RECORDED = {
    case["name"]: (json.dumps(case["line"], ensure_ascii=False, separators=(",", ":")), case["fields"])
    for case in map(json.loads, (Path(__file__).parent.parent / "claude_lines.ndjson").read_text().splitlines())
}
INIT, TEXT, RESULT, PERMISSION = (RECORDED[name][0] for name in ("init", "text", "result", "permission"))


def output(adapter: ClaudeAdapter, *pieces: bytes) -> list[Published]:
    chunker = Chunker("stdout")
    published: list[Published] = []
    for piece in pieces:
        for chunk in (*chunker.feed(piece), *chunker.flush()):
            published += adapter.output(chunk)
    for chunk in chunker.finish():
        published += adapter.output(chunk)
    return [*published, *adapter.finish("stdout")]


def chunks(published: Sequence[Published]) -> list[tuple[bytes, dict[str, Any]]]:
    return [(one[0].raw, dict(one[1])) for one in published if not isinstance(one, Said)]


def said(published: Sequence[Published]) -> list[Said]:
    return [one for one in published if isinstance(one, Said)]


@pytest.mark.parametrize(("line", "fields"), RECORDED.values(), ids=RECORDED)
def test_a_line_as_it_was_recorded(line: str, fields: dict[str, Any]) -> None:
    assert chunks(output(ClaudeAdapter(), line.encode() + b"\n")) == [(line.encode() + b"\n", fields)]


lines = st.lists(
    st.one_of(
        st.sampled_from([line for line, _ in RECORDED.values()]).map(lambda line: line.encode() + b"\n"),
        st.sampled_from(
            [b"plain\n", b"\n", b"{}\n", b"[1]\n", b'{"type":1}\n', b'{"type":"x"', "é\n".encode(), b"\xff\n"]
        ),
        st.binary(max_size=5),
    ),
    max_size=8,
)


@given(lines, st.lists(st.integers(0, 2000), max_size=8))
def test_every_byte_comes_out_once_at_once_and_in_order(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    places = sorted({min(cut, len(data)) for cut in cuts})
    chunker, adapter, offset = Chunker("stdout"), ClaudeAdapter(), 0
    kinds = []
    for a, b in zip([0, *places], [*places, len(data)], strict=True):
        for chunk in (*chunker.feed(data[a:b]), *chunker.flush()):
            for one in adapter.output(chunk):
                if isinstance(one, Said):
                    continue
                assert one[0].raw
                assert one[0].offset == offset
                assert data.startswith(one[0].raw, offset)
                offset += len(one[0].raw)
                kinds += [one[1]["kind"]] if one[1] else []
            assert offset == chunk.offset + len(chunk.raw)
    whole = [dict(fields)["kind"] for _, fields in chunks(output(ClaudeAdapter(), data)) if fields]
    assert kinds == whole


@pytest.mark.parametrize(
    "line",
    [
        b"Execution error",
        b"{not json}",
        b'{"type": 7}',
        b'["type"]',
        b'{"type":"result","n":NaN}',
        b"{" * 100_000,
        b'{"type":"assistant","pad":"' + b"x" * MAX_LINE_BYTES + b'"}',
    ],
)
def test_what_is_no_message_is_output_like_any_other(line: bytes) -> None:
    published = output(ClaudeAdapter(), line + b"\n", TEXT.encode() + b"\n")
    assert all(not fields for _, fields in chunks(published)[:-1])
    assert chunks(published)[-1] == (TEXT.encode() + b"\n", RECORDED["text"][1])
    assert b"".join(raw for raw, _ in chunks(published)) == line + b"\n" + TEXT.encode() + b"\n"


def test_lines_that_say_nothing_stay_together() -> None:
    published = chunks(output(ClaudeAdapter(), b"a\nb\n" + INIT.encode() + b"\nc\nd"))
    assert [raw for raw, _ in published] == [b"a\nb\n", INIT.encode() + b"\n", b"c\nd"]


def test_the_other_stream_is_not_read() -> None:
    chunk = Chunk("stderr", 0, INIT.encode() + b"\n")
    assert list(ClaudeAdapter().output(chunk)) == [(chunk, {})]


def test_what_is_told_is_bounded_and_fit_for_an_event() -> None:
    message = {
        "type": "assistant",
        "session_id": "x" * 1000,
        "message": {
            "content": [
                {"type": "text", "text": "\x01\0\ud800" * 20_000},
                {"type": "tool_use", "name": "n" * 50_000, "input": {str(n): [[[n]]] for n in range(50_000)}},
            ],
            "usage": json.loads("[" * 500 + "]" * 500),
        },
    }
    fields = fields_of(message)
    assert fields["truncated"] is True
    data = {**Chunk("stdout", 0, b"\x01" * 16384).to_data(), **fields}
    assert len(Event(type="task_output", category="task", task_id="t", data=data).to_json()) < MAX_EVENT_BYTES
    assert "\0" not in json.dumps(fields, ensure_ascii=False)


def test_a_question_is_asked_and_its_answer_is_what_the_program_reads() -> None:
    adapter = ClaudeAdapter()
    published = output(adapter, INIT.encode() + b"\n", PERMISSION.encode() + b"\n")
    assert said(published) == [
        Said(
            "task_confirmation_required",
            {
                "confirmation_id": "r-1",
                "question": "Allow Bash?",
                "tool": "Bash",
                "tool_use_id": "toolu_1",
                "decision_reason": "not listed",
                "input": {"command": "rm x", "n": [1, None]},
                "session_id": "s-1",
            },
        )
    ]
    assert published[-1] is said(published)[0]  # behind the line that asked
    assert adapter.confirm("another", approved=True) is None
    assert list(adapter.open_confirmations) == ["r-1"]
    answer = adapter.confirm("r-1", approved=True)
    assert answer == (
        b'{"type":"control_response","response":{"subtype":"success","request_id":"r-1",'
        b'"response":{"behavior":"allow","updatedInput":{"command":"rm x","n":[1,null]}}}}\n'
    )
    assert list(adapter.open_confirmations) == []
    assert adapter.confirm("r-1", approved=True) is None


def test_a_denial_says_so() -> None:
    adapter = ClaudeAdapter()
    output(adapter, PERMISSION.encode() + b"\n")
    answer = json.loads(adapter.confirm("r-1", approved=False) or b"")
    assert answer["response"]["response"] == {"behavior": "deny", "message": DENIED}


def test_a_question_that_the_program_takes_back_is_open_no_longer() -> None:
    adapter = ClaudeAdapter()
    output(adapter, PERMISSION.encode() + b'\n{"type":"control_cancel_request","request_id":"r-1"}\n')
    assert list(adapter.open_confirmations) == []


def test_questions_that_can_not_be_answered_are_not_asked() -> None:
    adapter = ClaudeAdapter()
    hook = PERMISSION.replace("can_use_tool", "hook_callback")
    nameless = PERMISSION.replace('"tool_name":"Bash",', "")
    long = PERMISSION.replace("r-1", "r" * 500)
    assert said(output(adapter, f"{hook}\n{nameless}\n{long}\n".encode())) == []
    many = "".join(PERMISSION.replace("r-1", f"r-{n}") + "\n" for n in range(MAX_OPEN + 5))
    assert len(said(output(adapter, many.encode()))) == len(adapter.open_confirmations) == MAX_OPEN


@pytest.mark.parametrize(
    ("argv", "run", "prompt"),
    [
        (["claude", "-p", "fix it"], ["claude", "-p", *FLAGS], "fix it"),
        (["claude", "--print", "fix", "--model", "m"], ["claude", "--print", "--model", "m", *FLAGS], "fix"),
        (["claude", *FORMAT, "--", "-fix", "it"], ["claude", *FORMAT, "-p", *ASKING], "-fix it"),
        (["claude"], ["claude", "-p", *FLAGS], None),
        (["claude", "-p", "--permission-prompt-tool=x"], ["claude", "-p", "--permission-prompt-tool=x", *FORMAT], None),
    ],
)
def test_the_command_gets_the_flags_of_the_format_and_its_prompt_goes_in_by_stdin(
    argv: list[str], run: list[str], prompt: str | None
) -> None:
    adapter = ClaudeAdapter()
    assert adapter.command(argv) == run
    assert adapter.needs_input
    assert adapter.opening == (b"" if prompt is None else adapter.input(prompt))


def test_who_wants_another_input_format_keeps_it() -> None:
    adapter = ClaudeAdapter()
    argv = ["claude", "-p", "fix it", "--input-format", "text"]
    assert adapter.command(argv) == [*argv, "--output-format", "stream-json", "--verbose"]
    assert not adapter.needs_input
    assert adapter.opening == b""
    assert adapter.input("x\n") == b"x\n"


def test_input_is_a_message_of_the_session() -> None:
    adapter = ClaudeAdapter()
    output(adapter, INIT.encode() + b"\n")
    assert json.loads(adapter.input('say "hi"\nthere\n')) == {
        "type": "user",
        "message": {"role": "user", "content": 'say "hi"\nthere'},
        "parent_tool_use_id": None,
        "session_id": "s-1",
    }


@pytest.mark.parametrize(("prompt", "ends"), [(["-p", "fix it"], True), ([], False)])
def test_a_command_with_a_prompt_ends_with_its_result(prompt: list[str], ends: bool) -> None:
    adapter = ClaudeAdapter()
    adapter.command(["claude", *prompt])
    output(adapter, TEXT.encode() + b"\n")
    assert not adapter.input_ends
    output(adapter, RESULT.encode() + b"\n")
    assert adapter.input_ends is ends


@pytest.mark.parametrize(
    ("approved", "told"), [(True, ("ran ls -a", "Done.")), (False, (DENIED, "Then not."))], ids=["allowed", "denied"]
)
def test_with_a_program_that_speaks_it(approved: bool, told: tuple[str, str]) -> None:
    adapter = ClaudeAdapter()
    argv = adapter.command([sys.executable, STAND_IN, "-p", "look around"])
    published: list[Published] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(adapter.opening)
        process.stdin.flush()
        chunker = Chunker("stdout")
        while data := os.read(process.stdout.fileno(), 700):
            for chunk in (*chunker.feed(data), *chunker.flush()):
                for one in adapter.output(chunk):
                    published.append(one)
                    if isinstance(one, Said):
                        process.stdin.write(adapter.confirm(str(one.data["confirmation_id"]), approved) or b"")
                        process.stdin.flush()
            if adapter.input_ends:
                process.stdin.close()
        assert process.wait(10) == 0
    kinds = [fields for _, fields in chunks(published) if fields]
    assert [fields["kind"] for fields in kinds] == [
        "system",
        "thinking",
        "assistant_text",
        "tool_use",
        "permission_request",
        "tool_result",
        "assistant_text",
        "result",
    ]
    assert (kinds[5]["content"], kinds[7]["content"]) == told
    assert kinds[7]["total_cost_usd"] == 0.0123
    assert {fields.get("session_id") for fields in kinds} == {"0b6f4cf5-3f2b-4a53-8a59-6a1e3a3f8f10", None}
