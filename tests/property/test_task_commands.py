"""Whatever commands a task is given, each is answered once, before the end, and readers see the state that it has."""

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lastseen.task_state import TaskState, TaskView

from tests.told import Held, command_of, held
from tests.waiting import until

NAMES = ["task_input", "task_pause", "task_resume", "task_confirm", "task_cancel"]
commands = st.lists(
    st.tuples(st.sampled_from(NAMES[:-1] * 4 + NAMES[-1:]), st.integers(0, 6), st.sampled_from(["u1", "u2"])),
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(sent=commands, chance=st.randoms(use_true_random=False))
def test_any_commands(sent: list[tuple[str, int, str]], chance: random.Random) -> None:
    asyncio.run(_check(sent, chance))


async def _check(sent: list[tuple[str, int, str]], chance: random.Random) -> None:
    one = held("cat", input=True)
    await until(lambda: "pending>running" in one.told.short, what="the program")
    first: dict[tuple[str, int], str] = {}
    tasks = []
    for name, number, user in sent:
        command = command_of(name, id=f"c{number}", user=user, **_data(name, number))
        if "task_cancel" not in first.values():  # behind the end nothing is answered
            first.setdefault((user, number), name)
        if chance.random() < 0.3:
            one.told.room.clear()
        tasks.append(asyncio.create_task(one.run.apply(command)))
        await asyncio.sleep(0)
        if chance.random() < 0.5:
            one.told.room.set()
    one.told.room.set()
    await asyncio.gather(*tasks)
    one.run.cancel("over")
    assert (await one.life).stopped == "cancelled"
    _check_receipts(one, first, len(sent))
    _check_states(one)
    assert one.ended_once()


def _data(name: str, number: int) -> dict[str, Any]:
    match name:
        case "task_input":
            return {"input": f"{number}\n"}
        case "task_confirm":
            return {"confirmation_id": "x", "approved": True}
        case _:
            return {}


def _check_receipts(one: Held, first: dict[tuple[str, int], str], sent: int) -> None:
    receipts = [event.data for event in one.told.log if event.type == "task_command"]
    final = [receipt for receipt in receipts if receipt["state"] != "accepted"]
    assert len(final) <= sent
    typed = []
    for (user, number), name in first.items():
        mine = [r for r in final if (r["by"], r["command_id"]) == (user, f"c{number}")]
        own = [(r["state"], r.get("reason")) for r in mine if r.get("reason") != "id_in_use"]
        assert own, "each is answered"
        assert len(set(own)) == 1, "and always the same"
        assert all(r["command"] == name for r in mine if r.get("reason") != "id_in_use")
        if name == "task_input" and own[0][0] == "applied":
            typed.append(number)
    if "task_cancel" not in first.values():
        written = [int(line) for line in one.told.output().split()]
        assert not set(written) - set(typed)
        assert len(written) <= len(typed), "nothing is written twice"


def _check_states(one: Held) -> None:
    view, status = TaskView(), "pending"
    for event in one.told.log:
        view = view.after(event.model_dump())
        if event.type == "task_status_change":
            assert event.data["previous"] == status
            assert event.data["status"] != status
            status = str(event.data["status"])
        if view.status is not None and view.status not in (TaskState.CANCELLED,) and status in ("running", "paused"):
            assert event.type in ("task_paused", "task_resumed") or view.status == status
