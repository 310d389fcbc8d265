"""Rights come out the same however the partitions are interleaved, and nobody gets in by publishing tasks."""

from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from lastseen.channels import parse_channel
from lastseen.names import CATEGORY_OF

from service.domain.access_rules import may_execute, may_read
from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.rights import Rights
from tests.records import record_of

USERS = ["ann", "bob", "eve"]
PARTITION_OF = {"p": 0, "q": 1, None: 2}
TASKS = ["t", "u"]
TASK_TYPES = [
    "task_output",
    "task_started",
    "task_paused",
    "task_resumed",
    "task_completed",
    "task_failed",
    "build_step",
]
PROJECT_TYPES = ["project_created", "project_deleted", "project_member_added", "project_member_removed"]

Told = tuple[str, dict[str, Any]]

task_events = st.builds(
    lambda type_, task, project, user: (
        type_,
        {"category": "task", "task_id": task, "project_id": project, "user_id": user},
    ),
    st.sampled_from(TASK_TYPES),
    st.sampled_from(TASKS),
    st.sampled_from(["p", "q", None]),
    st.sampled_from([*USERS, None]),
)
project_events = st.builds(
    lambda type_, project, by, user, role: (
        type_,
        {
            "category": CATEGORY_OF[type_],
            "project_id": project,
            "user_id": by,
            "data": {"user_id": user, "role": role} if "member" in type_ else {},
        },
    ),
    st.sampled_from(PROJECT_TYPES),
    st.sampled_from(["p", "q"]),
    st.sampled_from(USERS),
    st.sampled_from(USERS),
    st.sampled_from(["owner", "member", "viewer"]),
)


@st.composite
def logs(draw: st.DrawFn, events: st.SearchStrategy[Told]) -> list[list[Record]]:
    """A log of three partitions, each keyed by project; records of different ones may share a time."""
    partitions: list[list[Record]] = [[], [], []]
    now = 0
    for type_, fields in draw(st.lists(events, max_size=24)):
        now += draw(st.integers(0, 1))
        partition = PARTITION_OF[fields["project_id"]]
        partitions[partition].append(
            record_of(len(partitions[partition]), type_, partition=partition, at=now, **fields)
        )
    return partitions


def interleaved(partitions: list[list[Record]], draw: st.DataObject) -> list[Record]:
    """All records, each partition's in its order."""
    left = [list(records) for records in partitions if records]
    order = []
    while left:
        chosen = draw.draw(st.sampled_from(range(len(left))))
        order.append(left[chosen].pop(0))
        left = [records for records in left if records]
    return order


def everything(rights: Rights) -> object:
    projects = [(rights.project(p), sorted(rights.members(p))) for p in ("p", "q")]
    return projects, [rights.claims(task) for task in TASKS]


def folded(records: list[Record]) -> Rights:
    rights = Rights(1)
    for record in records:
        rights.apply(record)
    return rights


@given(logs(task_events | project_events), st.data())
def test_the_order_in_which_partitions_are_read_does_not_matter(
    partitions: list[list[Record]], data: st.DataObject
) -> None:
    one, other = interleaved(partitions, data), interleaved(partitions, data)
    assert everything(folded(one)) == everything(folded(other))


@given(logs(task_events | project_events), st.data())
def test_reading_on_from_what_was_loaded_is_like_having_read_it_all(
    partitions: list[list[Record]], data: st.DataObject
) -> None:
    order = interleaved(partitions, data)
    cut = data.draw(st.integers(0, len(order)))
    before = folded(order[:cut])
    loaded = Rights(1)
    loaded.load(
        [found for p in ("p", "q") if (found := before.project(p))],
        [member for p in ("p", "q") for member in before.members(p)],
        [claim for task in TASKS for claim in before.claims(task)],
        others=(),
    )
    # What was read already may come again, as long as nothing is left out.
    for record in order[data.draw(st.integers(0, cut)) :]:
        loaded.apply(record)
    assert everything(loaded) == everything(folded(order))


@given(logs(task_events | project_events), st.data())
def test_a_task_learned_in_two_parts_is_the_task_learned_at_once(
    partitions: list[list[Record]], data: st.DataObject
) -> None:
    order = interleaved(partitions, data)
    cut = data.draw(st.integers(0, len(order)))
    projection = folded(order[: data.draw(st.integers(cut, len(order)))])
    node = Rights(1)
    node.load((), (), (), others=None)
    for record in order[cut:]:
        node.apply(record)
    whole = folded(order)
    for task in TASKS:
        assert node.learn(task, projection.claims(task), {})
        assert node.task(task) == whole.task(task)


@given(logs(task_events), logs(project_events))
def test_nobody_gets_in_by_publishing_tasks(tasks: list[list[Record]], projects: list[list[Record]]) -> None:
    with_tasks = folded([*chain(*projects), *chain(*tasks)])
    without = folded([*chain(*projects)])
    for user in USERS:
        identity = Identity(user, "", frozenset(), frozenset(), 2**40)
        for project in ("p", "q"):
            channel = parse_channel(f"project:{project}")
            assert may_read(identity, channel, with_tasks, True) == may_read(identity, channel, without, True)


@given(logs(task_events | project_events), st.sampled_from(USERS), st.sets(st.sampled_from(["p", "q"])), st.booleans())
def test_what_may_be_done_by_the_words_of_the_rule(
    partitions: list[list[Record]], user: str, claims: set[str], trust: bool
) -> None:
    rights = folded([*chain(*partitions)])
    identity = Identity(user, "", frozenset(claims), frozenset(), 2**40)

    def role(project: str) -> str | None:
        known = rights.project(project)
        if known is not None and known.deleted:
            return None
        said = rights.role_of(project, user)
        if said is None and trust and project in claims and not rights.was_removed(project, user):
            return "member"
        return said

    for project in ("p", "q"):
        assert may_read(identity, parse_channel(f"project:{project}"), rights, trust) == (role(project) is not None)
    for id_ in TASKS:
        task = rights.task(id_)
        verdict = may_read(identity, parse_channel(f"task:{id_}"), rights, trust)
        if task is None:
            assert verdict is None
            continue
        gone = task.project is not None and rights.is_deleted(task.project)
        part = role(task.project) if task.project is not None else None
        assert verdict == (not gone and (task.user == user or part is not None))
        assert may_execute(identity, task, rights, trust) == (
            not gone and (task.user == user or part in ("owner", "member"))
        )
