"""What the outside fulfils. Everything inside knows these Protocols and no adapter.

Offsets, once and for all: `first` is the first offset held, `next` the offset that the next record will
have; a range `[start, stop)` is half open; a *position*, `after`, and `served` name the last offset seen,
so what is wanted next lies above them.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, Protocol

from lastseen.chunks import Chunk
from lastseen.commands import Command
from lastseen.positions import Position
from lastseen.record import NewRecord
from pydantic import JsonValue

from service.domain.duplicates import Seen
from service.domain.epochs import Loss
from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.ranges import Bounds as Bounds
from service.domain.ranges import Coverage as Coverage
from service.domain.records import RawRecord, Record
from service.domain.rights import Change, Member, Project
from service.domain.tasks import Task


class Place(NamedTuple):
    """Where a record stands in the log."""

    partition: int
    offset: int


class Epoch(NamedTuple):
    """A stretch of time during which offsets keep their meaning."""

    number: int
    name: str
    partitions: int
    first_of_topic: int = 1
    """The number of the epoch that the present topic began with: since then it got more partitions, or lost records."""
    losses: tuple[Loss, ...] = ()
    """What the topic has lost since then, the earliest loss first."""

    @property
    def loss(self) -> Loss | None:
        """The loss that this epoch began with."""
        return self.losses[-1] if self.losses and self.losses[-1].epoch == self.number else None


class TailBatch(NamedTuple):
    """One read of the tail: records in the order of each partition, and how far it has come."""

    records: Sequence[RawRecord]
    next: Mapping[int, int]
    """Per partition that moved: the offset read next. It may pass offsets that hold no record."""


class TailReader(Protocol):
    """A reader of every partition that waits at the head."""

    async def read(self) -> TailBatch:
        """What has come since the last call; waits until something has. Raises LogUnavailable."""
        ...


class EventLog(Protocol):
    """The Kafka topic `events`: the only source."""

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Place]:
        """Append in order and return each one's place once all replicas in sync have it.

        Raises LogUnavailable; then some of the records may have been appended all the same, and a
        retry with the same ids makes duplicates that every reader passes over.
        """
        ...

    def partition_of(self, key: bytes) -> int:
        """The partition that records of this key go to."""
        ...

    async def bounds(self) -> Mapping[int, Bounds]:
        """What is held of each partition now. Raises LogUnavailable."""
        ...

    async def offsets_at(self, ms: int) -> Mapping[int, int | None]:
        """Per partition the first offset held that was appended at or after `ms` (since 1970), None where none was.

        Appending times may go back a little, so later ones may be of before. Raises LogUnavailable.
        """
        ...

    def tail(self, start: Mapping[int, int]) -> AbstractAsyncContextManager[TailReader]:
        """A reader of all partitions from the offsets `start` on (each at or above `first`)."""
        ...

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        """The records of `[start, stop)` in batches, each with how far it has come; ends at `stop`.

        `start` must be at or above `first`. Raises LogUnavailable.
        """
        ...


class HistoryPage(NamedTuple):
    """Records of some channels, ascending by (partition, offset), and how far the answer is complete."""

    records: Sequence[Record]
    served: Mapping[int, int]
    """Per partition asked for: everything up to this offset that matches is among the pages so far."""


class History(Protocol):
    """The Postgres log: what the log writer has copied. Void records are not in it.

    For a record that it has in its quarantine, where the channels can be told, pages hold an `Unusable`, whatever the
    types that are asked for.

    Every call raises HistoryUnavailable while the database does not answer.
    """

    async def coverage(self) -> Mapping[int, Coverage]:
        """What is held of each partition; a partition never written is left out."""
        ...

    async def page(
        self,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        """Up to `limit` next records of the channels, in each partition within `(after, upto]`.

        With `types`, only records of these types; so many others are passed over at once as can be in a moment.
        With `offline` (and no `types`), without the types that are not among offline messages.
        A page shorter than `limit` may still be followed by more: it is finished when `served` has
        reached `upto` everywhere. Each call gets further in at least one partition that is not done,
        provided that coverage reaches `upto`. A partition left out of `after` begins where coverage does.

        Raises HistoryUnavailable too where what follows `after` was dropped: coverage has moved, ask for it again.
        """
        ...

    async def page_back(
        self,
        channels: Sequence[str],
        upto: Mapping[int, int],
        down_to: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
    ) -> HistoryPage:
        """In each partition up to `limit` last records of the channels within `[down_to, upto]`, descending.

        `served` is, per partition, the offset from which on (inclusive) everything that matches is among the pages
        so far: the next page is asked for with `upto` below it. Each call gets further down in at least one
        partition, provided that coverage holds `[down_to, upto]`; else it raises HistoryUnavailable.
        """
        ...

    async def offsets_at(self, ms: int) -> Mapping[int, int]:
        """Per partition the first offset that was appended at or after `ms`; one without any is left out."""
        ...

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        """What the void rule needs of `[start, stop)`: the readable records, void ones included, ascending."""
        ...


class PresenceRecord(NamedTuple):
    """The newest word under a key; a `value` of None is a tombstone: the key is no more."""

    offset: int
    key: str
    value: bytes | None
    appended_at: int
    """The broker's time of appending, ms since 1970."""


class PresenceBatch(NamedTuple):
    """One read of the presence topic."""

    records: Sequence[PresenceRecord]
    next: int
    """The offset read next."""


class PresenceReader(Protocol):
    """A reader of the presence topic that waits at its end."""

    @property
    def end(self) -> int:
        """The next offset of the topic when it was opened: who has read so far knows all that was held then."""
        ...

    async def read(self) -> PresenceBatch:
        """What has come since the last call; waits until something has. Raises LogUnavailable."""
        ...


class PresenceLog(Protocol):
    """The compacted topic `presence`, of one partition: the newest record of each key, in one order for all nodes."""

    async def append(self, entries: Sequence[tuple[str, bytes | None]]) -> int:
        """Append (key, value) in order; None for a tombstone. Gives an offset behind all of them.

        Raises LogUnavailable; then some may have been appended all the same.
        """
        ...

    def follow(self, start: int | None) -> AbstractAsyncContextManager[PresenceReader]:
        """A reader from an offset on, or from the first that is held.

        Raises LogUnavailable, and OffsetsGone where the topic is another than the one that was read before.
        """
        ...


class Authenticator(Protocol):
    """Tells who a caller is."""

    async def identify(self, token: str) -> Identity:
        """Who the token names. Raises Denied, saying what is wrong with it and never quoting it."""
        ...


Verdict = bool | Unavailable
"""Whether somebody may, or why that can't be told now."""


class Access(Protocol):
    """Who may do what. A deployment with an authority of its own fulfils this port."""

    async def judge(self, identity: Identity, names: Sequence[str]) -> dict[str, Verdict]:
        """Whether `identity` may read each of the channels; a name that is no channel is denied.

        A denial is final: it counts everything that the log held when it was asked.
        """
        ...

    async def may_execute(self, identity: Identity, task_id: str) -> Verdict:
        """Whether `identity` may send commands to the task; as final as `judge`."""
        ...

    async def may_start(self, identity: Identity, project_id: str) -> Verdict:
        """Whether `identity` may start tasks in the project; as final as `judge`."""
        ...

    def still_may(self, identity: Identity, name: str) -> bool:
        """Whether a channel that was granted may still be read, by what is known here at this moment."""
        ...

    def contradicts(self, record: Record) -> bool:
        """Whether a record claims another project or owner for its task than the task has: not for its readers."""
        ...

    def note(self, record: Record) -> Change | None:
        """Learn from a record that is not void; what has to be judged again because of it. Never waits or raises."""
        ...


class Screens(Protocol):
    """What follows the screens of terminals."""

    async def after(
        self, columns: int, rows: int, snapshot: Mapping[str, Any] | None, chunks: Sequence[Chunk]
    ) -> Mapping[str, JsonValue] | None:
        """The screen, as the `data` of a `task_screen`, once the program of a terminal has written these chunks.

        They go on in order behind `snapshot` (the `data` of a `task_screen`), or from the beginning on a terminal of
        `columns` by `rows`. None where it can't be told: bytes are missing, say.
        """
        ...


class HeldRights(NamedTuple):
    """What the projection of rights holds, all of one moment."""

    next: Mapping[int, int]
    """Per partition the offset that it reads next; one that it has not begun is left out."""
    projects: Sequence[Project]
    members: Sequence[Member]
    tasks: Sequence[Task]
    """The newest, every claim of each."""
    others: Sequence[str] | None
    """The ids of all other tasks; None where they are too many."""


class HeldTask(NamedTuple):
    """What the projection holds of one task, and how far it had come."""

    claims: Sequence[Task]
    next: Mapping[int, int]


class RightsLoader(Protocol):
    """The projection of rights. Every call raises HistoryUnavailable while the database does not answer."""

    async def load(self, tasks: int) -> HeldRights:
        """All projects and members, and up to so many tasks."""
        ...

    async def task(self, task_id: str) -> HeldTask:
        """What is held of one task; no claims where there is none."""
        ...


class CursorKey(NamedTuple):
    """Whose durable cursor: a client's of a user; the empty name is that of all clients without one."""

    user_id: str
    client_id: str


class Cursor(NamedTuple):
    """A durable cursor: up to where a client has acknowledged its user's channel."""

    client_id: str
    position: Position
    moved_at: datetime
    expires_at: datetime | None = None
    """When it is forgotten, unless it moves; None where that never happens."""


class Cursors(Protocol):
    """The durable cursors. Every call raises HistoryUnavailable while the database does not answer.

    One that has rested for as long as a deployment says is forgotten: from then on it is as if there were none.
    """

    async def find(self, key: CursorKey) -> Position | None:
        """Where the cursor stands, or None where there is none."""
        ...

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        """Move cursors and say where they stand now: none is lowered (`domain.cursors.moved`).

        A user has at most 100: a further one takes the place of the one that has rested longest.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        """A user's cursors, by the names of their clients."""
        ...

    async def delete(self, key: CursorKey) -> bool:
        """Forget a cursor; whether there was one."""
        ...


class Commands(Protocol):
    """The Kafka topic `commands`: what the runners of tasks are told."""

    async def append(self, command: Command) -> None:
        """Append a command; it is there once all replicas in sync have it. A task's commands keep their order.

        Raises LogUnavailable; then it may have been appended all the same, and a retry with the same id is
        recognised by whoever applies it.
        """
        ...


class PlacedCommand(NamedTuple):
    """A command, and where it stands in the topic."""

    place: Place
    command: Command


class CommandBatch(NamedTuple):
    """Commands in the order of each partition, and how far the reading has come."""

    commands: Sequence[PlacedCommand]
    next: Mapping[int, int]
    """Per partition that moved: the offset read next."""


class CommandTaker(Protocol):
    """Whom a `CommandSource` tells what it reads. Never waits or raises."""

    def begin(self, topic: str, start: Mapping[int, int]) -> None:
        """What follows is read from these offsets on, each partition's; called anew where the reading is.

        `topic` names the very topic: one that was made anew has another name, and its offsets another meaning.
        """
        ...

    def take(self, batch: CommandBatch) -> None:
        """What comes next. What is no command of this version is left out."""
        ...


class CommandSource(Protocol):
    """The topic `commands` as it is read by one who wants all of it."""

    async def feed(self, taker: CommandTaker) -> NoReturn:
        """Tell `taker` every command, until cancelled; while the topic is away it tries again."""
        ...

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[CommandBatch, None]:
        """What lies in `[start, stop)`, which the feed has passed, while it is being fed; ends at `stop`.

        Raises LogUnavailable, and OffsetsGone where `start` is not held any more.
        """
        ...


class Claim(NamedTuple):
    """That a runner runs a task: by whose command, and for which project and user."""

    task: str
    runner: str
    """The incarnation."""
    command: str
    """The id of the command that started it, which is its user's own."""
    user: str
    project: str | None = None


class Leases(Protocol):
    """The leases of the incarnations of runners, and the tasks that each has claimed.

    Nobody's clock decides: a lease is a number that rises while its incarnation lives, and whoever has seen the same
    number for too long says that it is lost (`domain.leases`). Every call raises HistoryUnavailable while the database
    does not answer; then it may have been done all the same, and may be repeated.
    """

    async def begin(self, runner: str, name: str) -> None:
        """A new incarnation lives; `name` is for people."""
        ...

    async def renew(self, runner: str) -> bool:
        """Raise its number; False where it was said to be lost, which it stays."""
        ...

    async def renewals(self) -> Mapping[str, int]:
        """The number of each incarnation that lives."""
        ...

    async def lose(self, runner: str, renewal: int) -> bool:
        """Say that it is lost, unless its number has risen; True for one caller alone."""
        ...

    async def leave(self, runner: str) -> None:
        """It has ended by itself: what it has not ended of its claims counts as a lost one's."""
        ...

    async def claim(self, claim: Claim) -> bool:
        """Whether the task is that runner's, by that command, from now on: it is the first one's that lives.

        A task is claimed once: one that has ended stays claimed, until it is swept.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """As if it had not been claimed; nothing must have been published of it."""
        ...

    async def end(self, claims: Sequence[Claim]) -> None:
        """These tasks have ended."""
        ...

    async def is_held(self, task: str) -> bool:
        """Whether an incarnation that lives has claimed the task, and has not ended it."""
        ...

    async def lost(self) -> Sequence[Claim]:
        """Some of the claims that have not ended and whose runners are lost; all, where they are not very many."""
        ...

    async def sweep(self, days: int) -> None:
        """Forget claims that ended, and incarnations that were lost, more than so many days ago."""
        ...


class Ticket(NamedTuple):
    """What stands for an access token once, for a short time."""

    text: str
    expires_at: datetime


class Tickets(Protocol):
    """Tickets of one kind, known to every node: for connecting, or (called codes) for signing in to the console.

    Every call raises Unavailable while they can't be had.
    """

    async def issue(self, identity: Identity) -> Ticket:
        """A ticket for `identity`, its expiry included. Raises TooMany where the user has too many that are unspent."""
        ...

    async def spend(self, text: str) -> Identity:
        """Whom the ticket was issued for; nobody will spend it again. Raises Denied, which does not quote it."""
        ...


class Progress(NamedTuple):
    """Per partition that it has begun, the offset that a consumer of the log comes to next."""

    log_writer: Mapping[int, int]
    projections: Mapping[int, int]


class LivingRunner(NamedTuple):
    """An incarnation of a runner that nobody has said to be lost."""

    name: str
    incarnation: str
    renewed_at: datetime
    tasks: int
    """Those that it has claimed and not ended."""


class QuarantinedRecord(NamedTuple):
    """A record that no reader can use. Of its value and headers the beginning, as text."""

    epoch: int
    partition: int
    offset: int
    at: datetime
    """When the log writer came to it."""
    appended_at: datetime | None
    reason: str
    detail: str
    channels: str | None
    key: bytes | None
    value: bytes | None
    value_bytes: int
    headers: str | None
    """JSON: pairs of a name and a value in base64, or null; None where they are very long."""


class QuarantinePlace(NamedTuple):
    """Where the quarantine is read on: below this, by the time and then the place."""

    at: datetime
    epoch: int
    partition: int
    offset: int


class Oversight(Protocol):
    """What whoever looks after a deployment wants to see of its consumers.

    Every call raises HistoryUnavailable while the database does not answer.
    """

    async def progress(self) -> Progress:
        """How far the consumers of the log have come."""
        ...

    async def runners(self) -> Sequence[LivingRunner]:
        """By their names."""
        ...

    async def quarantined(self, limit: int, before: QuarantinePlace | None) -> Sequence[QuarantinedRecord]:
        """At most so many records of the quarantine, the newest first, of all epochs; those below a place."""
        ...


class TokenIssuer(Protocol):
    """Signs access tokens that this deployment's nodes accept."""

    def issue(self, identity: Identity) -> str:
        """A token that says all that `identity` does, its expiry included."""
        ...


class Clock(Protocol):
    """Time as an argument."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...
