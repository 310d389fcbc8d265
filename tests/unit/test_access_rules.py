"""Who may read which channel, beyond what the property tests enumerate."""

import pytest
from lastseen.channels import Channel, parse_channel

from service.domain.access_rules import may_execute, may_read, may_start
from service.domain.identity import Identity
from service.domain.rights import Rights
from tests.records import rights_log


def identity(user: str, role: str = "", *projects: str) -> Identity:
    return Identity(user, role, frozenset(projects), frozenset(), 2**40)


@pytest.fixture
def rights() -> Rights:
    found = Rights(1)
    for record in rights_log(
        ("project_created", {"project_id": "p", "user_id": "ann"}),
        ("project_member_added", {"project_id": "p", "user_id": "ann", "data": {"user_id": "vera", "role": "viewer"}}),
        ("project_member_added", {"project_id": "p", "user_id": "ann", "data": {"user_id": "bob"}}),
        ("project_member_removed", {"project_id": "p", "user_id": "ann", "data": {"user_id": "bob"}}),
        ("task_started", {"task_id": "t", "project_id": "p", "user_id": "carl"}),
        ("task_started", {"task_id": "alone", "user_id": "carl"}),
        ("project_deleted", {"project_id": "gone"}),
        ("task_started", {"task_id": "buried", "project_id": "gone", "user_id": "carl"}),
    ):
        found.apply(record)
    return found


@pytest.mark.parametrize(
    ("who", "channel", "may"),
    [
        (identity("ann"), "project:p", True),
        (identity("vera"), "project:p", True),
        (identity("vera"), "task:t", True),
        (identity("carl"), "project:p", False),
        (identity("carl"), "task:t", True),
        (identity("carl"), "task:alone", True),
        (identity("ann"), "task:alone", False),
        (identity("bob", "", "p"), "project:p", False),
        (identity("bob", "", "p"), "task:t", False),
        (identity("dora", "", "p"), "project:p", True),
        (identity("dora", "", "gone"), "project:gone", False),
        (identity("carl"), "task:buried", False),
        (identity("root", "admin"), "task:buried", True),
        (identity("root", "super_admin"), "project:gone", True),
        (identity("root", "admin"), "system", True),
        (identity("ann"), "system", False),
        (identity("ann"), "user:ann", True),
        (identity("root", "admin"), "user:ann", False),
        (identity("nobody"), "broadcast", True),
        (identity("ann"), "task:unheard-of", None),
        (identity("root", "admin"), "task:unheard-of", True),
    ],
)
def test_who_reads(rights: Rights, who: Identity, channel: str, may: bool | None) -> None:
    assert may_read(who, parse_channel(channel), rights, trust_claims=True) is may


def test_claims_count_only_where_they_are_trusted(rights: Rights) -> None:
    assert not may_read(identity("dora", "", "p"), parse_channel("project:p"), rights, trust_claims=False)


def test_a_channel_of_no_known_kind_is_denied_even_to_admins(rights: Rights) -> None:
    assert may_read(identity("root", "admin"), Channel("planet", "mars"), rights, trust_claims=True) is False


@pytest.mark.parametrize(
    ("who", "task", "may"),
    [
        (identity("ann"), "t", True),
        (identity("carl"), "t", True),
        (identity("vera"), "t", False),
        (identity("vera", "", "p"), "t", False),
        (identity("bob", "", "p"), "t", False),
        (identity("dora", "", "p"), "t", True),
        (identity("eve"), "t", False),
        (identity("root", "admin"), "t", True),
        (identity("carl"), "buried", False),
        (identity("root", "admin"), "buried", True),
        (identity("carl"), "alone", True),
        (identity("dora", "", "p"), "alone", False),
    ],
)
def test_who_acts_on_a_task(rights: Rights, who: Identity, task: str, may: bool) -> None:
    found = rights.task(task)
    assert found is not None
    assert may_execute(who, found, rights, trust_claims=True) is may


@pytest.mark.parametrize(
    ("who", "project", "may"),
    [
        (identity("ann"), "p", True),
        (identity("vera"), "p", False),
        (identity("vera", "", "p"), "p", False),
        (identity("bob", "", "p"), "p", False),
        (identity("dora", "", "p"), "p", True),
        (identity("carl"), "p", False),
        (identity("root", "admin"), "p", True),
        (identity("root", "admin"), "unheard-of", True),
        (identity("root", "admin"), "gone", False),
        (identity("ann"), "unheard-of", False),
    ],
)
def test_who_starts_tasks(rights: Rights, who: Identity, project: str, may: bool) -> None:
    assert may_start(who, project, rights, trust_claims=True) is may


def test_claims_start_tasks_only_where_they_are_trusted(rights: Rights) -> None:
    assert not may_start(identity("dora", "", "p"), "p", rights, trust_claims=False)
