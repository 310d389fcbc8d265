"""What a page of a replay is for one catch-up: frames."""

from collections.abc import Callable

from service.domain.frames import message_frame, replay_frame
from service.domain.messages import QUARANTINE, gap
from service.domain.records import Record, Unusable
from service.domain.subscriptions import CatchUp
from service.node.head import Head
from service.node.replay import Page


def frames_of(
    page: Page, group: CatchUp, head: Head, now_ms: int, contradicts: Callable[[Record], bool]
) -> list[bytes]:
    """The frames of a page that the group has not been served yet: its events, and gaps where some can't be used."""
    frames = []
    for at, record in enumerate(page.records):
        if record.is_expired(now_ms) or not (channels := group.counts_for(record, contradicts)):
            continue
        if isinstance(record, Unusable):
            reached = {**group.cursor, **{before.partition: before.offset for before in page.records[:at]}}
            requested = head.token_of({**reached, record.partition: record.offset - 1})
            earliest = head.token_of({**reached, record.partition: record.offset})
            frames.append(message_frame(gap(channels, requested, earliest, QUARANTINE)))
        else:
            frames.append(replay_frame(record, channels))
    return frames
