"""Who may read a channel, act on a task or start one: pure rules over identity and rights."""

from lastseen.channels import BROADCAST, SYSTEM, Channel
from lastseen.names import Role

from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.rights import Rights, ids_of
from service.domain.tasks import Task

_EXECUTING = frozenset({Role.OWNER, Role.MEMBER})


def may_read(identity: Identity, channel: Channel, rights: Rights, trust_claims: bool) -> bool | None:
    """Whether `identity` may read `channel`; None for a task of which not all is known here.

    `trust_claims`: whether a token's `projects` make a member where the log says nothing to the contrary.
    """
    match channel.kind:
        case kind if kind == BROADCAST:
            return True
        case kind if kind == SYSTEM:
            return identity.is_admin
        case "user":
            return channel.id == identity.user_id
        case "project":
            return identity.is_admin or _role_in(identity, channel.id, rights, trust_claims) is not None
        case "task":
            if identity.is_admin:
                return True
            task = rights.task(channel.id)
            return None if task is None else _may_read_task(identity, task, rights, trust_claims)
    return False


def may_execute(identity: Identity, task: Task, rights: Rights, trust_claims: bool) -> bool:
    """Whether `identity` may give input to `task`, cancel it and so on."""
    if identity.is_admin:
        return True
    if task.project is None:
        return task.user == identity.user_id
    if rights.is_deleted(task.project):
        return False
    return task.user == identity.user_id or _role_in(identity, task.project, rights, trust_claims) in _EXECUTING


def may_start(identity: Identity, project: str, rights: Rights, trust_claims: bool) -> bool:
    """Whether `identity` may start a task in `project`."""
    if rights.is_deleted(project):
        return False
    return identity.is_admin or _role_in(identity, project, rights, trust_claims) in _EXECUTING


def contradicts(record: Record, rights: Rights) -> bool:
    """Whether a record says of a task that was started what its start does not.

    It names another project, or is a further start for another user: so it does not count for the task's channel,
    whose readers that start has chosen. Where not all is known of the task, another start may be the one that counts.
    """
    task, project, user = ids_of(record.channels)
    best = rights.task(task) if task is not None else None
    if best is None or not best.started:
        return False
    return project not in (None, best.project) or (record.type == "task_started" and user not in (None, best.user))


def _may_read_task(identity: Identity, task: Task, rights: Rights, trust_claims: bool) -> bool:
    if task.project is None:
        return task.user == identity.user_id
    if rights.is_deleted(task.project):
        return False
    return task.user == identity.user_id or _role_in(identity, task.project, rights, trust_claims) is not None


def _role_in(identity: Identity, project: str, rights: Rights, trust_claims: bool) -> Role | None:
    """The log's word, where it has one; a claim counts as a member's role where it is trusted."""
    if rights.is_deleted(project):
        return None
    member = rights.member(project, identity.user_id)
    if member is not None:
        return member.role
    return Role.MEMBER if trust_claims and project in identity.projects else None
