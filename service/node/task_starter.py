"""Starting tasks: the command is sent, and where its task begins is told."""

from service.domain.command_requests import CommandRequest
from service.domain.commands import TASK_ENDED, TASK_ID_IN_USE, CommandResult, State
from service.domain.errors import BadRequest, NoRunner
from service.domain.identity import Identity
from service.domain.task_starts import Started
from service.node.beginnings import TaskBeginnings
from service.node.commands import Commander
from service.node.event_history import EventHistory
from service.node.rights import KnownRights


class TaskStarter:
    """Sends starts for those who may."""

    def __init__(
        self, commander: Commander, rights: KnownRights, beginnings: TaskBeginnings, history: EventHistory
    ) -> None:
        self._commander = commander
        self._rights = rights
        self._beginnings = beginnings
        self._history = history

    async def start(self, identity: Identity, request: CommandRequest) -> Started:
        """Send a start and wait until it is known what became of it; the same again, by its id, is told the same.

        The state is `applied`, `rejected`, or `unknown` where the task has begun and nobody has said more. Raises
        Denied, BadRequest (`task_id_in_use` for a task that the log tells of already, `id_in_use`), NoRunner, and
        Unavailable; after the last two the same id may be sent again.
        """
        # Nobody is to get a task that is there already: what the log holds now has to be known here.
        await self._history.settle()
        before = self._beginnings.head
        was_known = await self._rights.find(request.task_id) is not None
        result = await self._commander.send(identity, request)
        task = await self._rights.find(request.task_id)
        if task is None:
            raise NoRunner(
                "no runner has taken the task before its deadline: send it again, with the same id, once one is there"
            )
        if not _is_told(result):
            if (task.project, task.user) != (request.project_id, identity.user_id):
                problem = f"there is a task {task.id} already: choose another task_id, or leave it out"
                raise BadRequest(problem, code=TASK_ID_IN_USE, field="task_id")
            result = CommandResult(result.id, result.command, result.task_id, State.UNKNOWN, result.reason)
        first, position = task.fixed_by, self._beginnings.position_before(task) if was_known else before
        return Started(result.state, result.reason, first.partition, first.offset, position.token)


def _is_told(result: CommandResult) -> bool:
    """Whether a runner has said what became of the start, and not only the task that it did not."""
    if result.state is State.REJECTED:
        return result.reason != TASK_ENDED
    return result.state is State.APPLIED
