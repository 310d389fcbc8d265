"""What a page of a replay is for one catch-up: frames."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from service.domain.frames import message_frame, replay_frame
from service.domain.messages import QUARANTINE, gap
from service.domain.records import Record, Unusable
from service.domain.subscriptions import CatchUp
from service.domain.window import WindowPage
from service.node.head import Head
from service.node.replay import Page

if TYPE_CHECKING:
    from service.node.services import Services


def frames_of(page: Page, group: CatchUp, node: "Services") -> bytes:
    """The frames of a page that the group has not been served yet: its events, and gaps where some can't be used."""
    now_ms, contradicts = node.clock.now_ms(), node.access.contradicts
    if any(isinstance(record, Unusable) for record in page.records):
        return b"".join(_one_by_one(page.records, group, node.head, now_ms, contradicts))
    return node.replay_frames.join(group, page.records, now_ms, contradicts)


def frames_of_window(read: WindowPage, group: CatchUp, node: "Services") -> bytes:
    """The same for what the window gave of one partition, some record at least."""
    joined = node.replay_frames.join_parts(group, read.parts)
    if joined is not None:
        return joined
    records = read.records
    return frames_of(Page(records, {records[0].partition: read.served}), group, node)


def _one_by_one(
    records: Sequence[Record], group: CatchUp, head: Head, now_ms: int, contradicts: Callable[[Record], bool]
) -> Iterator[bytes]:
    for at, record in enumerate(records):
        if record.is_expired(now_ms) or not (channels := group.counts_for(record, contradicts)):
            continue
        if isinstance(record, Unusable):
            reached = {**group.cursor, **{before.partition: before.offset for before in records[:at]}}
            requested = head.token_of({**reached, record.partition: record.offset - 1})
            earliest = head.token_of({**reached, record.partition: record.offset})
            yield message_frame(gap(channels, requested, earliest, QUARANTINE))
        else:
            yield replay_frame(record, channels)
