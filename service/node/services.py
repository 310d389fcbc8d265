"""What the parts of one node share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.identity import Identity
from service.domain.replay_frames import ReplayFrames
from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.command_tasks import CommandTasks
from service.node.connections import Connections
from service.node.cursors import CursorKeeper
from service.node.event_history import EventHistory
from service.node.fanout import Fanout
from service.node.head import Head
from service.node.listing import Listing
from service.node.offline import OfflineMessages
from service.node.pace import Pace
from service.node.patience import Patience
from service.node.presence import Presence
from service.node.replay import Replay
from service.node.rights import KnownRights
from service.node.states import States
from service.node.task_starter import TaskStarter
from service.ports import Access, Authenticator, Clock, Oversight
from service.settings import Settings

if TYPE_CHECKING:
    from service.node.connection import Connection
    from service.node.handlers import Handlers
    from service.node.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class Services:
    """The one set of them in a node."""

    settings: Settings
    clock: Clock
    authenticator: Authenticator
    handlers: Handlers
    window: Window
    head: Head
    connections: Connections
    heartbeat: Heartbeat
    fanout: Fanout[Connection]
    replay: Replay
    replay_frames: ReplayFrames
    pace: Pace
    """Of what crowds do: beginning conversations, and steps of catch-ups."""
    history: EventHistory
    states: States
    listing: Listing
    oversight: Oversight
    access: Access
    rights: KnownRights
    cursors: CursorKeeper
    offline: OfflineMessages
    patience: Patience
    commands: CommandTasks
    starter: TaskStarter
    presence: Presence
    surely_may: Callable[[Identity, Sequence[str]], bool]
    """As `JudgesAtOnce.surely_may`; never, where the deployment's authority does not say so."""
    pull: Callable[[Connection, CatchUp], None]
    """Start to serve a catch-up; ends by itself when the group is live, empty or its connection gone."""

    @property
    def low_water(self) -> int:
        """Bytes of a connection's buffer at which a replay goes on."""
        return self.settings.high_water_bytes // 2

    def knows_end(self, channel: str) -> bool:
        """Whether `has_ended` is the last word, with nobody to be asked."""
        if not channel.startswith("task:"):
            return True
        task = channel.removeprefix("task:")
        return self.rights.known(task) is not None or self.rights.rights.is_unheard_of(task)

    def has_ended(self, channel: str) -> bool:
        """Whether it is the channel of a task that is known to have ended."""
        if not channel.startswith("task:"):
            return False
        task = self.rights.known(channel.removeprefix("task:"))
        return task is not None and task.ended
