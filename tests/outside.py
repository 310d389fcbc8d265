"""What a node is given in tests that play its outside: the twins."""

from typing import Any

from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.memory_commands import MemoryCommands
from service.adapters.memory_cursors import MemoryCursors
from service.adapters.memory_leases import MemoryLeases
from service.adapters.memory_oversight import MemoryOversight
from service.adapters.memory_presence import MemoryPresence
from service.adapters.memory_rights import MemoryRights
from service.adapters.sends.python import send_all
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.node.handlers.standard import standard_handlers
from service.node.outside import Outside
from service.node.tail import Start, TailStart
from service.ports import Clock, HeldRights, History, RightsLoader
from service.screens import TerminalScreens
from tests.service_process import SECRET

NOTHING_HELD = HeldRights({}, (), (), (), others=())


def outside_of(
    log: MemoryLog, clock: Clock, history: History | None = None, rights: RightsLoader | None = None, **more: Any
) -> Outside:
    """Twins around a log; a history and a projection that have not begun where none are given."""
    commands = more.pop("commands", None) or MemoryCommands()
    return Outside(
        log=log,
        history=history or MemoryHistory(log),
        rights=rights or MemoryRights(log),
        cursors=more.pop("cursors", None) or MemoryCursors(),
        commands=commands,
        command_source=lambda reach: commands.source(reach, clock),
        leases=MemoryLeases(),
        oversight=MemoryOversight(),
        presence=MemoryPresence(),
        authenticator=TokenAuthenticator(SECRET, None, Expected()),
        clock=clock,
        screens=TerminalScreens(),
        authority=more.pop("authority", lambda access: access),
        send_all=more.pop("send_all", send_all),
        handlers=more.pop("handlers", None) or standard_handlers(),
        **more,
    )


def from_nothing(start: TailStart) -> Start:
    """A start before which nothing is known of rights."""
    return Start(start, NOTHING_HELD)
