"""Live delivery: from a record to the connections that watch one of its channels."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from service.domain.frames import event_frame
from service.domain.records import Record


class Subscriber(Protocol):
    """Who watches channels: gathers the frames of one step and sends them in one write."""

    id: str
    pending: list[bytes]
    """Frames of the present step; emptied by the fan-out."""

    def send(self, frames: bytes) -> None:
        """Send the frames of a step, joined. The same bytes go to everyone who gets the same frames."""
        ...


S = TypeVar("S", bound=Subscriber)


class Fanout(Generic[S]):
    """The live subscribers of each channel."""

    def __init__(self) -> None:
        self._live: dict[str, dict[S, None]] = {}
        self._touched: list[S] = []

    def add(self, channel: str, subscriber: S) -> None:
        """From the next record on, `subscriber` gets those of `channel`."""
        self._live.setdefault(channel, {})[subscriber] = None

    def remove(self, channel: str, subscriber: S) -> None:
        """End that; nothing happens where it was not."""
        subscribers = self._live.get(channel)
        if subscribers is not None:
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._live[channel]

    def push(self, record: Record) -> None:
        """Hand the record's frame to each subscriber once, however many of its channels match."""
        watching: Sequence[dict[S, None]] = [
            subscribers for channel in record.channels if (subscribers := self._live.get(channel)) is not None
        ]
        if not watching:
            return
        frame = event_frame(record)
        if record.exclude is not None:
            watching = [{one: None for one in subscribers if one.id != record.exclude} for subscribers in watching]
        for subscribers in watching:
            for subscriber in subscribers:
                pending = subscriber.pending
                if not pending:
                    self._touched.append(subscriber)
                elif pending[-1] is frame:
                    continue
                pending.append(frame)

    def push_told(self, channels: Sequence[str], frame_of: Callable[[Sequence[str]], bytes]) -> None:
        """Hand each subscriber of some of the channels the frame that `frame_of` makes for those that are its own."""
        watching: dict[S, list[str]] = {}
        for channel in channels:
            for subscriber in self._live.get(channel, ()):
                watching.setdefault(subscriber, []).append(channel)
        frames: dict[tuple[str, ...], bytes] = {}
        for subscriber, own in watching.items():
            frame = frames.get(tuple(own))
            if frame is None:
                frame = frames[tuple(own)] = frame_of(own)
            if not subscriber.pending:
                self._touched.append(subscriber)
            subscriber.pending.append(frame)

    def flush(self) -> None:
        """Send what the pushes since the last flush have gathered."""
        touched, self._touched = self._touched, []
        # Joined once for all who watch the same: a thousand slow viewers then hold one copy, not a thousand.
        joined: dict[tuple[int, ...], bytes] = {}
        for subscriber in touched:
            pending, subscriber.pending = subscriber.pending, []
            if len(pending) == 1:
                subscriber.send(pending[0])
                continue
            same = tuple(map(id, pending))
            frames = joined.get(same)
            if frames is None:
                frames = joined[same] = b"".join(pending)
            subscriber.send(frames)
