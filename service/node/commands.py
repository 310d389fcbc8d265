"""Sending commands to whoever runs tasks, and telling what became of each."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

from lastseen.commands import Command, CommandName
from lastseen.names import TERMINAL_TYPES

from service.domain.command_requests import CommandRequest
from service.domain.commands import RECEIPT_TYPE, TASK_ID_IN_USE, CommandResult, fingerprint, is_loss
from service.domain.errors import BadRequest, Denied, TooManyCommands, Unavailable
from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.task_starts import Beginning
from service.node.receipts import Receipts
from service.node.waiting_commands import Key, Waiting, WaitingCommands
from service.ports import Clock, Commands, Verdict
from service.settings import Settings

GRACE_SECONDS: Final = 2.0
"""How long after its deadline a command's receipt is waited for: it was written in time, or says `expired`."""
_LOOK_SECONDS: Final = 1.0
"""How long it may take to find out whether there is a runner, once the answer is overdue."""
_REMEMBERED: Final = 10_000
_SHARES: Final = 10
_LEAST_SHARE: Final = 100
_NOTED: Final = TERMINAL_TYPES | {RECEIPT_TYPE}

K = TypeVar("K")
V = TypeVar("V")


class Executors(Protocol):
    """Who may command: of the port `Access`, all that is asked here."""

    async def may_execute(self, identity: Identity, task_id: str) -> Verdict:
        """As `Access.may_execute`."""
        ...

    async def may_start(self, identity: Identity, project_id: str) -> Verdict:
        """As `Access.may_start`."""
        ...


class KnownTask(Protocol):
    """What has to be known of a task that is commanded."""

    @property
    def project(self) -> str | None: ...
    @property
    def ended(self) -> bool: ...


class TaskFinder(Protocol):
    """Who knows what the log says of a task."""

    async def find(self, task: str) -> KnownTask | None:
        """None for a task without events. Raises HistoryUnavailable."""
        ...


class Beginnings(Protocol):
    """Who looks up how a task began."""

    async def of(self, task: str) -> Beginning:
        """Raises Unavailable."""
        ...


class Holders(Protocol):
    """Who knows which tasks runners have: of the port `Leases`, all that is asked here."""

    async def is_held(self, task: str) -> bool:
        """As `Leases.is_held`."""
        ...


class Commander:
    """Appends commands for those who may.

    At most `max_waiting_commands` are under way, of one user a tenth of that or 100, whichever is more; another
    is refused with TooManyCommands.
    """

    def __init__(
        self,
        commands: Commands,
        access: Executors,
        tasks: TaskFinder,
        beginnings: Beginnings,
        holders: Holders,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._commands = commands
        self._access = access
        self._tasks = tasks
        self._beginnings = beginnings
        self._holders = holders
        self._clock = clock
        self._settings = settings
        self._under_way = 0
        self._by_user: Counter[str] = Counter()
        self._waiting = WaitingCommands(settings.instance_id)
        self._receipts = Receipts()
        # What this node has appended under the ids of clients.
        self._sent: OrderedDict[Key, bytes] = OrderedDict()
        # Tasks whose runners were lost.
        self._lost: OrderedDict[str, None] = OrderedDict()
        # A user's commands to a task are appended in the order in which they came.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def note(self, record: Record) -> None:
        """Take what the tail has read, if it is a receipt or the end of a task; void records are none."""
        if record.type not in _NOTED or (task := record.task) is None:
            return
        if record.type == RECEIPT_TYPE:
            self._receipts.add(task, record)
            self._waiting.take_receipt(task, record)
        else:
            lost = is_loss(record)
            if lost:
                _remember(self._lost, task, None)
            self._waiting.take_end(task, lost=lost)

    async def send(self, identity: Identity, request: CommandRequest) -> CommandResult:
        """Append the command and wait until it is known what became of it, or its deadline has passed.

        One that this node has sent is not appended again: the answer is that of the first. What has been
        appended stays so when the caller is cancelled. Raises Denied where `identity` may not or there is no
        such task, BadRequest for an id that was another command's or a start of a task that there is already,
        Unavailable (the same id may be sent again).
        """
        async with self.sending(identity, request) as sent:
            return await sent.result()

    @asynccontextmanager
    async def sending(self, identity: Identity, request: CommandRequest) -> AsyncIterator[Waiting]:
        """The same in two steps: in the block it has been appended; `result` of what it gives then waits."""
        limit, user = self._settings.max_waiting_commands, identity.user_id
        share = max(limit // _SHARES, _LEAST_SHARE)
        if self._under_way >= limit:
            raise TooManyCommands(f"{limit} commands wait for their receipts at this node: send it again later")
        if self._by_user[user] >= share:
            raise TooManyCommands(f"{share} commands of {user} wait for their receipts: send it again later")
        self._under_way += 1
        self._by_user[user] += 1
        try:
            waiting = await self._begin(identity, request)
            waiting.asking += 1
            try:
                yield waiting
            finally:
                waiting.asking -= 1
                if waiting.asking == 0:
                    self._waiting.drop(waiting)
        finally:
            self._under_way -= 1
            self._by_user[user] -= 1
            if not self._by_user[user]:
                del self._by_user[user]

    async def _begin(self, identity: Identity, request: CommandRequest) -> Waiting:
        key = Key(request.task_id, identity.user_id, request.id or uuid4().hex)
        async with self._turns.setdefault((key.user, key.task), asyncio.Lock()):
            await self._check_right(identity, request)
            waiting = Waiting(
                key,
                request.command,
                fingerprint(request.command, {**request.data, "project_id": request.project_id}),
                asyncio.get_running_loop().time() + self._settings.command_deadline_seconds + GRACE_SECONDS,
                asyncio.get_running_loop().create_future(),
                self._is_held,
            )
            if request.id is not None and (same := self._recognise(waiting)) is not None:
                return same
            facts = await self._tasks.find(key.task)
            if request.command is CommandName.START:
                if facts is None:
                    await self._append(identity, request, request.project_id, waiting)
                else:
                    await self._recognise_start(waiting)
            elif facts is None:
                raise Denied("Task access denied")
            elif facts.ended:
                # What the lost runner knew of an id that was sent before, nobody knows.
                waiting.end(lost=request.id is not None and key.task in self._lost)
            else:
                await self._append(identity, request, facts.project, waiting)
            return waiting

    async def _check_right(self, identity: Identity, request: CommandRequest) -> None:
        if request.command is not CommandName.START:
            verdict, denial = await self._access.may_execute(identity, request.task_id), "Task access denied"
        else:
            assert request.project_id is not None
            verdict, denial = await self._access.may_start(identity, request.project_id), "Project access denied"
        if isinstance(verdict, Unavailable):
            raise verdict
        if not verdict:
            raise Denied(denial)

    async def _recognise_start(self, new: Waiting) -> None:
        """There is a task of that name: begun by this very start, which was sent before, or by another."""
        beginning = await self._beginnings.of(new.key.task)
        receipt = beginning.receipt
        if receipt is not None and (receipt.by, receipt.command_id) == (new.key.user, new.key.id):
            new.decide(receipt.state, receipt.reason)
        elif beginning.may_follow:
            self._waiting.add(new)
            # It may have come while the log was read.
            if (said := self._receipts.final(*new.key)) is not None:
                new.decide(said.state, said.reason)
        else:
            raise BadRequest(
                f"there is a task {new.key.task} already: choose another task_id, or leave it out",
                code=TASK_ID_IN_USE,
                field="task_id",
            )

    async def _append(self, identity: Identity, request: CommandRequest, project: str | None, waiting: Waiting) -> None:
        deadline = self._clock.now_ms() / 1000 + self._settings.command_deadline_seconds
        command = Command(
            id=waiting.key.id,
            command=request.command,
            task_id=request.task_id,
            project_id=project,
            user_id=identity.user_id,
            role=identity.role or None,
            deadline=datetime.fromtimestamp(deadline, UTC),
            node=self._settings.instance_id,
            data=request.data,
        )
        # Before it is appended: its receipt may be here before Kafka's answer is.
        self._waiting.add(waiting)
        try:
            await self._commands.append(command)
        except BaseException:
            self._waiting.drop(waiting)
            raise
        if request.id is not None:
            _remember(self._sent, waiting.key, waiting.print)

    async def _is_held(self, task: str) -> bool:
        """Whether a runner that lives has the task; so it is, too, where nobody can tell now."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await self._holders.is_held(task)
        except (Unavailable, TimeoutError):
            return True

    def _recognise(self, new: Waiting) -> Waiting | None:
        """The same command, sent before: still under way, or with what became of it. Raises BadRequest."""
        under_way = self._waiting.find(new.key)
        sent = self._sent.get(new.key) if under_way is None else under_way.print
        if sent is not None and sent != new.print:
            raise _in_use(new.key.id)
        if under_way is not None:
            return under_way
        receipt = self._receipts.final(*new.key)
        if receipt is not None and receipt.command != new.command:
            raise _in_use(new.key.id)
        # Of what another node sent the content is not known here: the runner compares it, and answers.
        if receipt is None or sent is None:
            new.has_receipt = receipt is not None
            return None
        new.decide(receipt.state, receipt.reason)
        return new


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _in_use(id_: str) -> BadRequest:
    return BadRequest(f"id {id_} was given to another command: each has its own", code="id_in_use", field="id")
