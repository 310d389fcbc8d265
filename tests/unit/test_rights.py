"""What records say of rights: projects, members and tasks."""

from dataclasses import replace
from typing import Any

import pytest
from lastseen.names import Role
from lastseen.task_state import TaskState

from service.domain.records import Record
from service.domain.rights import Change, ChangeKind, Rights
from tests.records import record_of, rights_log

Told = tuple[str, dict[str, Any]]


def created(project: str = "p", by: str | None = "ann", **data: Any) -> Told:
    return "project_created", {"project_id": project, "user_id": by, "data": data}


def deleted(project: str = "p") -> Told:
    return "project_deleted", {"project_id": project}


def added(user: str, project: str = "p", **data: Any) -> Told:
    return "project_member_added", {"project_id": project, "user_id": "boss", "data": {"user_id": user, **data}}


def removed(user: str, project: str = "p") -> Told:
    return "project_member_removed", {"project_id": project, "user_id": "boss", "data": {"user_id": user}}


def task(type_: str, user: str | None = "ann", project: str | None = "p", id_: str = "t", **data: Any) -> Told:
    return type_, {"category": "task", "task_id": id_, "project_id": project, "user_id": user, "data": data}


def rights_of(*events: Told) -> Rights:
    rights = Rights(1)
    for record in rights_log(*events):
        rights.apply(record)
    return rights


def last_change(*events: Told) -> Change | None:
    rights, change = Rights(1), None
    for record in rights_log(*events):
        change = rights.apply(record)
    return change


@pytest.mark.parametrize(
    ("event", "owner"),
    [
        (created(by="ann"), "ann"),
        (created(by="ann", owner_id="bob"), "bob"),
        (created(by="ann", owner_id="no id!"), "ann"),
        (created(by="ann", owner_id=["bob"]), "ann"),
        (created(by=None), None),
    ],
)
def test_who_owns_a_project(event: Told, owner: str | None) -> None:
    members = rights_of(event).members("p")
    assert [(member.user, member.role) for member in members] == ([(owner, Role.OWNER)] if owner else [])


def test_nobody_becomes_owner_of_a_project_that_is_there() -> None:
    rights = rights_of(created(by="ann"), created(by="eve"))
    assert rights.role_of("p", "eve") is None
    assert last_change(created(by="ann"), created(by="eve")) is None


@pytest.mark.parametrize(
    ("data", "role"),
    [
        ({"role": "owner"}, Role.OWNER),
        ({"role": "member"}, Role.MEMBER),
        ({"role": "viewer"}, Role.VIEWER),
        ({}, Role.MEMBER),
        ({"role": None}, Role.MEMBER),
    ],
)
def test_a_member_has_the_role_given(data: dict[str, Any], role: Role) -> None:
    assert rights_of(created(), added("bob", **data)).role_of("p", "bob") is role


@pytest.mark.parametrize("role", ["boss", "", "OWNER", 7, ["owner"], {"owner": 1}, True])
def test_an_unknown_role_changes_nothing(role: object) -> None:
    said = with_data(added("bob", role="viewer"), {"user_id": "bob", "role": role})
    rights = rights_of(created())
    assert rights.apply(said) is None
    assert rights.role_of("p", "bob") is None


def with_data(event: Told, data: object) -> Record:
    """A record that no producer of ours would write: the headers of `event` over a value with other data."""
    from pydantic_core import to_json

    return replace(record_of(99, event[0], **event[1]), value=to_json({"data": data}))


@pytest.mark.parametrize(
    "value",
    [b"{}", b'{"data":1}', b'{"data":{"user_id":{}}}', b'{"no json', b"[]", b"", b'{"data":' * 9000, b'"\xff"',
     b'{"data":{"role":"b b"}}', b'{"data":{"role":"\\ud800"}}', b'{"data":{"status":[]}}', b"1", b'{"data":{}}'],
)  # fmt: skip
@pytest.mark.parametrize("event", [added("bob"), removed("bob"), task("task_status_change"), created(), deleted()])
def test_a_value_without_what_is_needed_is_survived(event: Told, value: bytes) -> None:
    rights = Rights(1)
    rights.apply(replace(record_of(0, event[0], **event[1]), value=value))
    assert rights.role_of("p", "bob") is None
    assert rights.was_removed("p", "bob") is (event == removed("bob")), "a removal needs no more than its header"


def test_a_removal_is_kept() -> None:
    rights = rights_of(created(), added("bob"), removed("bob"))
    assert rights.role_of("p", "bob") is None
    assert rights.was_removed("p", "bob")
    assert not rights.was_removed("p", "carl")
    assert rights_of(removed("bob")).was_removed("p", "bob"), "of a project never heard of, too"
    assert rights_of(removed("bob"), created(by="ann")).role_of("p", "ann") is Role.OWNER


@pytest.mark.parametrize("more", [added("dora"), created(by="eve"), deleted()])
def test_a_deleted_project_has_no_members_ever_again(more: Told) -> None:
    gone = (created(), added("bob"), removed("carl"), task("task_started"), deleted())
    rights = rights_of(*gone, more)
    assert rights.is_deleted("p"), "its past is nobody's who takes its id"
    assert not rights.members("p")
    assert last_change(*gone, more) is None


def test_a_project_that_a_membership_began_takes_name_and_owner_from_its_creation() -> None:
    rights = rights_of(added("bob"), created(by="ann", name="Shop"), created(by="eve", name="Mine"))
    project = rights.project("p")
    assert project is not None
    assert project.name == "Shop"
    assert {member.user: member.role for member in rights.members("p")} == {"bob": Role.MEMBER, "ann": Role.OWNER}


def test_the_project_is_called_as_it_was_named_last() -> None:
    def named(*events: Told) -> str | None:
        project = rights_of(*events).project("p")
        return project.name if project else None

    update: Told = ("project_updated", {"project_id": "p", "data": {"name": "Shop"}})
    assert named(created(name="Old"), update) == "Shop"
    assert named(created(name="Old"), ("project_updated", {"project_id": "p", "data": {"name": "n" * 201}})) == "Old"
    assert named(update) is None, "naming a project does not begin it"


@pytest.mark.parametrize(
    ("events", "kind", "user"),
    [
        ((created(),), ChangeKind.PROJECT, None),
        ((created(), added("bob")), ChangeKind.MEMBER, "bob"),
        ((created(), removed("bob")), ChangeKind.MEMBER, "bob"),
        ((created(), deleted()), ChangeKind.PROJECT, None),
        ((task("task_started"),), ChangeKind.TASK, "ann"),
        ((task("task_output", "bob"), task("task_started")), ChangeKind.TASK, "ann"),
        ((task("task_started"), task("task_paused")), ChangeKind.STATE, None),
    ],
)
def test_a_change_says_what_to_judge_anew(events: tuple[Told, ...], kind: ChangeKind, user: str | None) -> None:
    change = last_change(*events)
    assert change is not None
    assert (change.kind, change.project, change.user) == (kind, "p", user)


def test_output_and_a_second_start_change_nothing() -> None:
    begun = task("task_started")
    assert last_change(begun, task("task_output", "eve")) is None
    assert last_change(begun, task("task_started", "eve")) is None
    assert rights_of(begun, task("task_started", "eve")).claims("t")[0].user == "ann"


def test_the_first_event_introduces_and_the_first_start_fixes() -> None:
    rights = rights_of(task("task_output", "bob", "q"))
    found = rights.task("t")
    assert found is not None
    assert (found.project, found.user, found.started) == ("q", "bob", False)
    fixed = rights_of(task("task_output", "bob", "q"), task("task_started"), task("task_started", "eve", "e")).task("t")
    assert fixed is not None
    assert (fixed.project, fixed.user, fixed.started) == ("p", "ann", True)


@pytest.mark.parametrize(
    ("types", "state"),
    [
        (["task_started"], TaskState.RUNNING),
        (["task_started", "task_paused"], TaskState.PAUSED),
        (["task_started", "task_paused", "task_output", "task_resumed"], TaskState.RUNNING),
        (["task_started", "task_confirmation_required", "task_output"], TaskState.WAITING),
        (["task_started", "task_completed"], TaskState.COMPLETED),
        (["task_output", "task_failed"], TaskState.FAILED),
        (["task_started", "task_cancelled", "task_started", "task_resumed"], TaskState.CANCELLED),
        (["task_timeout", "task_completed"], TaskState.TIMEOUT),
        (["task_output"], TaskState.RUNNING),
    ],
)
def test_the_state_follows_the_events_and_an_end_is_for_good(types: list[str], state: TaskState) -> None:
    found = rights_of(*(task(type_) for type_ in types)).task("t")
    assert found is not None
    assert found.state is state
    assert found.ended is (state.value in {"completed", "failed", "cancelled", "timeout"})


@pytest.mark.parametrize(("status", "state"), [("paused", TaskState.PAUSED), ("waiting", TaskState.WAITING)])
def test_a_change_of_status_says_the_state(status: str, state: TaskState) -> None:
    found = rights_of(task("task_started"), task("task_status_change", status=status)).task("t")
    assert found is not None
    assert found.state is state


@pytest.mark.parametrize("status", ["completed", "cancelled", "dancing", 1])
def test_a_change_of_status_neither_ends_a_task_nor_invents_states(status: object) -> None:
    found = rights_of(task("task_started"), task("task_status_change", status=status)).task("t")
    assert found is not None
    assert found.state is TaskState.RUNNING


def test_what_names_another_project_counts_for_nothing_and_is_counted() -> None:
    rights = rights_of(task("task_started"), task("task_completed", project="q"), task("task_output", project=None))
    found = rights.task("t")
    assert found is not None
    assert (found.project, found.state) == ("p", TaskState.RUNNING)
    assert rights.strays == 2


def test_a_forgotten_task_is_unknown_until_the_projection_was_asked() -> None:
    rights = Rights(1, tasks=2)
    for record in rights_log(*(task("task_started", f"u{n}", id_=f"t{n}") for n in range(3))):
        rights.apply(record)
    assert rights.task("t0") is None
    assert rights.task("t2") is not None
    start = rights_of(task("task_started", "u0", id_="t0")).claims("t0")
    assert not rights.learn("t0", (), {0: 0}), "the projection has not come as far as what was forgotten"
    assert rights.learn("t0", start, {0: 1})
    found = rights.task("t0")
    assert found is not None
    assert found.user == "u0"


def test_what_is_known_in_part_is_not_told_before_the_rest_is_learned() -> None:
    rights = Rights(1)
    rights.load((), (), (), others=None)
    change = rights.apply(record_of(5, *task("task_output", "eve")[:1], **task("task_output", "eve")[1]))
    assert change is not None
    assert change.kind is ChangeKind.STATE, "nobody is judged by it"
    assert rights.task("t") is None
    assert rights.learn("t", rights_of(task("task_started", "ann")).claims("t"), {0: 1})
    found = rights.task("t")
    assert found is not None
    assert found.user == "ann"


@pytest.mark.parametrize("late_ms", [0, -60_000], ids=["at the same time", "by a clock that lags"])
def test_what_a_topic_made_anew_says_is_later(late_ms: int) -> None:
    before, after = rights_of(created(), added("bob")), Rights(2)
    after.load(*before.everything(), others=())
    member = before.member("p", "bob")
    assert member is not None
    (removal,) = rights_log(removed("bob"))
    after.apply(replace(removal, appended_at=member.since.appended_at + late_ms))
    assert after.was_removed("p", "bob")


def test_reading_the_topic_again_in_a_later_epoch_brings_nobody_back() -> None:
    log = rights_log(
        created(), added("bob"), removed("bob"), added("carl"), added("gus", "q"), removed("gus", "q"), created("q")
    )
    rights = Rights(1)
    for record in log:
        rights.apply(record)
    later = Rights(1)
    later.load(*rights.everything(), others=())
    for record in log:
        assert later.apply(record) is None
    assert later.everything() == rights.everything()
