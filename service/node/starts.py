"""Where a reader begins that named a start: behind a position, at a time, or with the last events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, NamedTuple

from lastseen.positions import Position

from service.node.past import Wanted
from service.node.replay import Beginning
from service.node.services import Services

SECONDS: Final = 5.0
"""How long it may take to find where a reader begins."""


@dataclass(frozen=True, slots=True)
class Start:
    """One of the three."""

    after: Position | None = None
    since_ms: int | None = None
    """What was appended at this time (ms since 1970) or later."""
    last: int | None = None
    """So many of each channel's last events."""


class Begun(NamedTuple):
    """Where all channels begin together, and each by itself: above that where their last events are asked for."""

    beginning: Beginning
    starts: Mapping[str, Mapping[int, int]]


async def begin(node: Services, start: Start, wanted: Wanted) -> Begun:
    """Judge a start for the channels that are wanted; at once where the window has it all.

    Raises Unavailable where it can't be told now, or takes too long.
    """
    if start.after is not None and (beginning := node.replay.begin_at_once(start.after)) is not None:
        return Begun(beginning, dict.fromkeys(wanted.channels, beginning.cursor))
    return await node.patience.within(SECONDS, _begin(node, start, wanted))


async def _begin(node: Services, start: Start, wanted: Wanted) -> Begun:
    positions = await _positions(node, start, wanted)
    beginning = await node.replay.begin(reduce(Position.lowered, positions.values()))
    if start.last is None:
        return Begun(beginning, dict.fromkeys(wanted.channels, beginning.cursor))
    return Begun(beginning, {name: _at_least(positions[name], beginning) for name in wanted.channels})


async def _positions(node: Services, start: Start, wanted: Wanted) -> dict[str, Position]:
    if start.last is not None:
        return {
            name: await node.history.last(replace(wanted, channels=(name,)), start.last) for name in wanted.channels
        }
    if start.since_ms is not None:
        return dict.fromkeys(wanted.channels, await node.history.since(start.since_ms))
    assert start.after is not None
    return dict.fromkeys(wanted.channels, start.after)


def _at_least(position: Position, beginning: Beginning) -> Mapping[int, int]:
    """A channel's own start, behind what is gone for all."""
    return {p: max(offset, position.offsets.get(p, offset)) for p, offset in beginning.cursor.items()}
