"""Channels: what a subscription names and what an event is routed to."""

import re
from typing import Final, NamedTuple

ID_PATTERN: Final = r"^[A-Za-z0-9._:@+=~|-]{1,128}$"
"""What an id (of an event, task, project or user) may look like."""

SYSTEM: Final = "system"
BROADCAST: Final = "broadcast"

_ID: Final = re.compile(ID_PATTERN)
_NAMED_KINDS: Final = ("task", "project", "user")


def is_id(text: str) -> bool:
    """Whether `text` may be the id of an event, task, project or user."""
    return _ID.fullmatch(text) is not None


class Channel(NamedTuple):
    """A parsed channel name; `id` is empty for `system` and `broadcast`."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else self.kind


def parse_channel(name: str) -> Channel:
    """The channel that `name` means.

    Raises ValueError, with the accepted forms, when it means none.
    """
    if name in (SYSTEM, BROADCAST):
        return Channel(name, "")
    kind, colon, id_ = name.partition(":")
    if colon and kind in _NAMED_KINDS and _ID.fullmatch(id_):
        return Channel(kind, id_)
    raise ValueError(
        f"{name[:200]!r} is no channel: use task:ID, project:ID, user:ID, system or broadcast, "
        "an ID being 1 to 128 of A-Z a-z 0-9 . _ : @ + = ~ | -"
    )
