"""What the parts of one node share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.access import Access
from service.node.fanout import Fanout
from service.node.head import Head
from service.node.replay import Replay
from service.node.tasks import Tasks
from service.ports import Clock
from service.settings import Settings

if TYPE_CHECKING:
    from service.node.connection import Connection


@dataclass(frozen=True, slots=True)
class Services:
    """The one set of them in a node."""

    settings: Settings
    clock: Clock
    window: Window
    head: Head
    fanout: Fanout[Connection]
    replay: Replay
    access: Access
    tasks: Tasks
    pull: Callable[[Connection, CatchUp], None]
    """Start to serve a catch-up; ends by itself when the group is live, empty or its connection gone."""

    @property
    def low_water(self) -> int:
        """Bytes of a connection's buffer at which a replay goes on."""
        return self.settings.high_water_bytes // 2

    def has_ended(self, channel: str) -> bool:
        """Whether it is the channel of a task that is known to have ended."""
        if not channel.startswith("task:"):
            return False
        facts = self.tasks.known(channel.removeprefix("task:"))
        return facts is not None and facts.ended
