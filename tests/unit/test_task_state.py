"""What the events of a task's channel say of it, one after the other."""

import json
from functools import reduce
from typing import Any

import pytest
from lastseen.task_state import TaskState, TaskView

from tests.vectors import FOLDER


def event(type_: str, project: str | None = "p", **data: Any) -> dict[str, Any]:
    return {"type": f"task_{type_}", "project_id": project, "data": data}


def told(*events: dict[str, Any]) -> TaskView:
    return reduce(TaskView.after, events, TaskView())


START = event("started")
VECTORS = json.loads((FOLDER / "folds" / "task_state.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vectors_that_every_language_holds_to(vector: dict[str, Any]) -> None:
    view = told(*vector["events"])
    assert {name: getattr(view, name) for name in vector["view"]} == vector["view"]


def test_a_task_waits_until_something_says_that_it_does_not() -> None:
    asking = event("confirmation_required", confirmation_id="c")
    waiting = told(START, event("progress_update", percent=1), asking, event("status_change", status="waiting"))
    assert waiting == TaskView("p", True, TaskState.WAITING, {"percent": 1}, {"confirmation_id": "c"})
    assert waiting.after(event("output")) == waiting
    assert waiting.after(event("resumed")) == TaskView("p", True, TaskState.RUNNING, {"percent": 1})
    assert told(START, event("status_change", status="waiting")).confirmation is None


def test_after_its_end_nothing_changes_it() -> None:
    ended = told(START, event("failed", exit_code=2))
    assert (ended.status, ended.result) == (TaskState.FAILED, {"exit_code": 2})
    for type_ in ("completed", "resumed", "progress_update", "confirmation_required", "started"):
        assert ended.after(event(type_, exit_code=0)) == ended


@pytest.mark.parametrize("status", ["completed", "odd", None, 3, ["paused"]])
def test_a_status_that_it_may_not_say_changes_nothing(status: object) -> None:
    paused = told(START, event("paused"))
    assert paused.after(event("status_change", status=status)) == paused


def test_the_first_start_says_which_project_it_is_of() -> None:
    before = told(event("progress_update", percent=1), event("paused"))
    assert (before.started, before.status) == (False, TaskState.PAUSED)
    # Its own start does not take the pause back; that of another project is another task.
    assert before.after(START) == TaskView("p", True, TaskState.PAUSED)
    other = before.after(event("started", "q"))
    assert other == TaskView("q", True, TaskState.RUNNING)
    assert other.after(event("paused")) == other.after(event("paused", None)) == other.after(START) == other
