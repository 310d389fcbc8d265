"""Programs that ask, through an adapter that understands them; and one that fails."""

import asyncio
from pathlib import Path

from lastseen.envelope import Event
from pydantic import JsonValue

from service.running.adapter import ScreenState
from service.running.program import Size
from tests.asking import AskingAdapter
from tests.told import Held, Told, held, ran
from tests.waiting import until

ECHO = 'while read -r line; do echo "$line"; [ "$line" = stop ] && exit 0; done'


async def test_a_question_waits_for_its_answer() -> None:
    one = held("sh", "-c", f"read hello; echo ask $hello; {ECHO}", adapter=AskingAdapter())
    await until(lambda: one.told.view.status == "waiting", what="the question")
    assert one.told.view.confirmation == {"confirmation_id": "hello", "text": "hello?"}
    assert await one.apply("task_confirm", confirmation_id="other", approved=True) == ["rejected no_confirmation"]
    assert await one.apply("task_confirm", confirmation_id="hello", approved=False) == ["applied"]
    assert await one.apply("task_confirm", confirmation_id="hello", approved=True) == ["rejected no_confirmation"]
    await one.until_output(b"hello no\n")
    assert one.told.view.status == "running"
    await one.apply("task_input", input="stop\n")
    assert (await one.life).succeeded
    assert [word for word in one.told.short if ">" in word] == [
        "pending>running",
        "running>waiting",
        "waiting>running",
        "running>completed",
    ]
    said = [(event.type, event.data.get("text")) for event in one.told.log]
    asked = said.index(("task_confirmation_required", "hello?"))
    assert said[asked - 1] == ("task_output", "ask hello\n"), "it stands behind what it was seen in"


async def test_readers_always_know_a_question_that_is_open() -> None:
    one = held("sh", "-c", ECHO, adapter=AskingAdapter())
    await until(lambda: one.run.is_running, what="the program")
    for line in ("ask a", "ask b"):
        await one.apply("task_input", input=f"{line}\n")
    await until(lambda: _asked(one.told) == "b", what="the second question")
    await one.apply("task_confirm", confirmation_id="b", approved=True)
    assert _asked(one.told) == "a", "the other is still open"
    assert one.told.view.status == "waiting"
    await one.apply("task_pause")
    assert one.told.view.status == "paused"
    await one.apply("task_resume")
    assert (one.told.view.status, _asked(one.told)) == ("waiting", "a")
    await one.apply("task_input", input="forget a\n")
    await until(lambda: one.told.view.status == "running", what="the end of the question")
    await one.apply("task_input", input="stop\n")
    await one.life


async def test_a_question_of_a_paused_task_does_not_end_the_pause(tmp_path: Path) -> None:
    """It was written before the program stood still, and is read after."""
    go, asked = tmp_path / "go", tmp_path / "asked"
    script = f"while [ ! -e {go} ]; do echo .; sleep 0.01; done; echo ask a; touch {asked}; {ECHO}"
    one = held("sh", "-c", script, adapter=AskingAdapter())
    await one.until_output(b".")
    one.told.room.clear()
    await until(_StandsStill(one), what="a pump that waits for room")
    go.touch()
    await until(asked.exists, what="the question")
    pause = asyncio.create_task(one.apply("task_pause"))
    await asyncio.sleep(0)
    one.told.room.set()
    assert await pause == ["applied"]
    await one.until_output(b"ask a")
    assert one.told.view.status == "paused"
    assert "task_confirmation_required" not in one.told.short
    assert await one.apply("task_resume") == ["applied"]
    assert (one.told.view.status, _asked(one.told)) == ("waiting", "a")
    await one.apply("task_pause")
    assert await one.apply("task_confirm", confirmation_id="a", approved=True) == ["applied"]
    assert one.told.view.status == "paused"
    await one.apply("task_resume")
    assert one.told.view.status == "running"
    one.run.lose()
    await one.life


class _StandsStill:
    """Whether nobody has waited for the program's output for a while."""

    def __init__(self, one: Held) -> None:
        self._one = one
        self._seen = 0

    def __call__(self) -> bool:
        running = self._one.run._running
        self._seen = 0 if running is None or running.process.streams[0].is_waiting else self._seen + 1
        return self._seen > 5


def _asked(told: Told) -> str | None:
    asked = told.view.confirmation
    return None if asked is None else asked["confirmation_id"]


async def test_a_conversation_has_a_first_word_and_a_last() -> None:
    one, outcome = await ran(
        "sh", "-c", "read first; echo $first; echo ask end; cat; echo over", adapter=AskingAdapter()
    )
    assert outcome.succeeded, "it ends once its stdin does"
    assert one.told.output() == b"hello\nask end\nover\n"
    assert one.told.log[2].data["kind"] == "line"


async def test_an_adapter_that_fails_costs_no_byte() -> None:
    one, outcome = await ran(
        "sh", "-c", "echo one; printf half; sleep 0.1; echo; echo fail; echo more; printf end", adapter=AskingAdapter()
    )
    assert outcome.succeeded
    assert one.told.output() == b"one\nhalf\nfail\nmore\nend"
    assert len(one.warnings) == 1
    assert "told to fail" in one.warnings[0]


async def test_what_can_t_be_an_event_is_left_out_and_said_once() -> None:
    one, outcome = await ran("sh", "-c", "echo say NO; echo say task_well; echo say NO", adapter=AskingAdapter())
    assert outcome.succeeded
    assert one.told.output() == b"say NO\nsay task_well\nsay NO\n"
    assert [event.type for event in one.told.log].count("task_well") == 1
    assert len(one.warnings) == 1


class _Stars:
    """Masks digits; holds everything back until the line is whole."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        whole, end, self._held = (self._held + data).rpartition(b"\n")
        return _masked(whole + end)

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        return _masked(held)


def _masked(data: bytes) -> bytes:
    return bytes(0x2A if 0x30 <= byte <= 0x39 else byte for byte in data)


class _Keeper:
    """Gives a state each time something has come."""

    def __init__(self, columns: int, rows: int) -> None:
        self._size = [columns, rows]
        self._seen = b""

    def feed(self, data: bytes, offset: int) -> None:
        assert offset == len(self._seen)
        self._seen += data

    def due(self) -> ScreenState | None:
        return _State({"size": list(self._size), "offset": len(self._seen)})


class _State:
    def __init__(self, data: dict[str, JsonValue]) -> None:
        self._data = data

    def to_data(self) -> dict[str, JsonValue]:
        return self._data


async def test_what_is_masked_is_masked_everywhere_but_here(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        options = {"redact": _Stars, "stdout": out.fileno()}
        one, _ = await ran("sh", "-c", "printf 12; sleep 0.01; echo 34; echo 5 >&2; printf 67", options=options)
    assert (one.told.output(), one.told.output("stderr")) == (b"****\n**", b"*\n")
    assert (tmp_path / "out").read_bytes() == b"1234\n67"


async def test_a_prompt_is_seen_without_a_line_s_end() -> None:
    one = held("sh", "-c", "printf 'name 1: '; read name", input=True, options={"redact": _Stars})
    await one.until_output(b"name *: ")
    await one.apply("task_input", input="x\n")
    await one.life


async def test_the_screen_follows_what_has_been_published() -> None:
    options = {"redact": _Stars, "screen": _Keeper}
    one, _ = await ran("sh", "-c", "echo 123", pty=Size(20, 5), options=options)
    assert [word for word in (_data(event) for event in one.told.log) if word] == [
        ("task_output", 5),
        ("task_screen", 5),
    ]
    assert one.told.output("pty") == b"***\r\n"


def _data(event: Event) -> tuple[str, JsonValue] | None:
    match event.type:
        case "task_output":
            return event.type, event.data["bytes"]
        case "task_screen":
            assert event.data["size"] == [20, 5]
            return event.type, event.data["offset"]
        case _:
            return None
