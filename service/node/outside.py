"""What a node is given of the outside: one fulfilment of each port."""

from collections.abc import Callable
from dataclasses import dataclass

from service.node.handlers import Handlers
from service.ports import (
    Access,
    Authenticator,
    Clock,
    Commands,
    CommandSource,
    Cursors,
    EventLog,
    History,
    Leases,
    Oversight,
    PresenceLog,
    RightsLoader,
    Screens,
    SendAll,
)


@dataclass(frozen=True, slots=True)
class Outside:
    """Made once, in `main`."""

    log: EventLog
    history: History
    rights: RightsLoader
    cursors: Cursors
    commands: Commands
    command_source: Callable[[float], CommandSource]
    """Reads the topic of commands, beginning so many seconds before now."""
    leases: Leases
    oversight: Oversight
    presence: PresenceLog
    authenticator: Authenticator
    clock: Clock
    screens: Screens
    authority: Callable[[Access], Access]
    """Puts a deployment's own judgement in front of the log's, or in its place."""
    send_all: SendAll
    handlers: Handlers
    """What is done about each type of message."""
