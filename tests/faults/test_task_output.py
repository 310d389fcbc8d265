"""What real programs write, on its way through adapters, redaction and the screen to events."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lastseen.chunks import Chunk, read_chunk
from lastseen.task_state import TaskState

from service.running.adapters.named import adapter_named
from service.running.program import Size
from service.running.redacting import Redactor, compile_patterns
from service.running.screen import Screen, Snapshot, read_snapshot, screen_after
from service.running.screen_snapshots import ScreenSnapshots
from tests.told import Held, Told, held, python, ran
from tests.waiting import until

STAND_IN = str(Path(__file__).parent.parent / "stand_in_claude.py")


def kinds(told: Told) -> list[Any]:
    return [event.data["kind"] for event in told.log if event.type == "task_output" and "kind" in event.data]


async def asked(one: Held) -> str:
    """The question that the task waits for."""
    await until(lambda: one.told.view.status is TaskState.WAITING, what=f"a question: {one.told.short} {one.warnings}")
    confirmation = one.told.view.confirmation
    assert confirmation is not None
    assert (confirmation["tool"], confirmation["input"]["command"]) == ("Bash", "ls -a")
    return str(confirmation["confirmation_id"])


@pytest.mark.parametrize(("approved", "says"), [(True, b"ran ls -a"), (False, b"The user does not allow this.")])
async def test_a_question_of_claude_is_answered_from_elsewhere(approved: bool, says: bytes) -> None:
    one = held(sys.executable, STAND_IN, "-p", "look around", adapter=adapter_named("claude"))
    question = await asked(one)
    assert await one.apply("task_confirm", confirmation_id="another", approved=True) == ["rejected no_confirmation"]
    assert await one.apply("task_confirm", confirmation_id=question, approved=approved) == ["applied"]
    outcome = await one.life
    assert (outcome.exit_code, one.warnings) == (0, [])
    assert says in one.told.output()
    assert one.told.view.status is TaskState.COMPLETED
    assert one.told.short == [
        "task_started",
        "pending>running",
        "task_confirmation_required",
        "running>waiting",
        "task_confirm rejected no_confirmation",
        "waiting>running",
        "task_confirm applied",
        "running>completed",
        "task_completed",
    ]
    assert kinds(one.told) == [
        "system",
        "thinking",
        "assistant_text",
        "tool_use",
        "permission_request",
        "tool_result",
        "assistant_text",
        "result",
    ]


async def test_a_conversation_with_claude_goes_on_until_it_is_cancelled() -> None:
    one = held(sys.executable, STAND_IN, adapter=adapter_named("claude"))
    await one.until_output(b'"subtype": "init"')
    for word in ("first", "second"):
        assert await one.apply("task_input", input=f"say {word}\n") == ["applied"]
        await one.until_output(f'"result": "{word}"'.encode())
    assert await one.apply("task_cancel") == ["applied"]
    await one.life
    assert kinds(one.told) == ["system", "assistant_text", "result", "assistant_text", "result"]


async def test_progress_is_told_between_the_output() -> None:
    script = "import sys\nfor n in range(0, 101, 20):\n  sys.stdout.write(f'\\r {n}%|##'); sys.stdout.flush()"
    one, _ = await ran(*python(script), adapter=adapter_named("progress"))
    assert one.told.view.progress == {"percent": 100}
    assert one.told.output().endswith(b"\r 100%|##")


async def test_what_patterns_name_is_masked_in_every_event() -> None:
    script = "import sys\nfor part in ('a to', 'ken=s3cr', 'et b\\n'):\n  sys.stdout.write(part); sys.stdout.flush()"
    patterns = compile_patterns(["token=[a-z0-9]+"])
    one, _ = await ran(*python(script), options={"redact": partial(Redactor, patterns)})
    assert one.told.output() == b"a ************ b\n"


async def test_who_joins_late_reads_a_screen_and_what_follows() -> None:
    """At every place of the log: the last screen, and the output behind it, show what all of the output shows."""
    script = (
        "for n in range(4000): print(f'\\x1b[{n % 24 + 1};{n % 70 + 1}H\\x1b[38;5;{n % 256}mé{n}日\\x1b[0m', end='')\n"
        "print('\\x1b[?1049hfull screen', end='')\n"
        "for n in range(3000): print(f'\\x1b[H{n} of the full screen, and on it goes')\n"
        "print('\\x1b[?1049ldone', end='')\n"
    )
    one, _ = await ran(*python(script), pty=Size(80, 24), options={"screen": ScreenSnapshots})
    whole, joined = Screen(80, 24), 0
    last: Snapshot | None = None
    since: list[Chunk] = []
    for event in one.told.log:
        if event.type == "task_screen":
            last, since = read_snapshot(event.data), []
        elif event.type == "task_output":
            chunk = read_chunk(event.data)
            whole.feed(chunk.raw)
            since.append(chunk)
            if last is not None:
                assert sum(len(chunk.raw) for chunk in since) < 128 * 1024
                joined += 1
                assert shown(screen_after(last, since)) == shown(whole.snapshot())
    assert joined > 5
    assert last is not None


def shown(snapshot: Snapshot | None) -> Snapshot:
    assert snapshot is not None
    return snapshot
