"""Live delivery: from a record to the connections that watch one of its channels.

What the tail's step brings is gathered by channel, and sent at its end: those who get the same events of the step get
the same bytes, in one call. So an event costs nothing for each subscriber, and a subscriber one send a step.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple

from service.domain.frames import event_frame
from service.domain.records import Record
from service.node.slots import NONE, S, Slots
from service.node.slots import Subscriber as Subscriber
from service.ports import SendAll

Places = tuple[int, ...]
"""Which of a step's events: their numbers, ascending."""


class _Told(NamedTuple):
    """A frame that is another for each set of channels."""

    channels: Sequence[str]
    frame_of: Callable[[Sequence[str]], bytes]


class _Audience:
    """Who watches a channel, as slots."""

    __slots__ = ("_listed", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[int, None] = {}
        self._listed: array[int] | None = None

    def add(self, slot: int) -> None:
        self.members[slot] = None
        self._listed = None

    def remove(self, slot: int) -> None:
        if slot in self.members:
            del self.members[slot]
            self._listed = None

    @property
    def listed(self) -> "array[int]":
        """The members, to be sent to; not to be changed."""
        # Made when it is sent to, not at each coming and going: beside the sends it is nothing.
        if self._listed is None:
            self._listed = array("i", self.members)
        return self._listed


class _Group(NamedTuple):
    """Those who get the same: the numbers of the events, and the channels that what is told names to them."""

    places: Places
    told: tuple[str, ...]


class Fanout(Generic[S]):
    """The live subscribers of each channel. `send_all` sends to those whose sockets can be written to at once."""

    def __init__(self, send_all: SendAll) -> None:
        self._send_all = send_all
        self._slots: Slots[S] = Slots()
        self._live: dict[str, _Audience] = {}
        # Of the step that is going on:
        self._events: list[bytes | _Told] = []
        self._has_told = False
        self._touched: dict[_Audience, list[int]] = {}
        self._excluded: list[tuple[int, str]] = []
        """The number of an event, and the id of the one that does not get it."""

    def add(self, channel: str, subscriber: S) -> None:
        """From the next record on, `subscriber` gets those of `channel`."""
        self.flush()
        audience = self._live.get(channel)
        if audience is None:
            audience = self._live[channel] = _Audience(channel)
        audience.add(self._slots.take(subscriber))

    def remove(self, channel: str, subscriber: S) -> None:
        """End that; nothing happens where it was not."""
        audience = self._live.get(channel)
        if audience is not None and subscriber.slot in audience.members:
            self.flush()
            audience.remove(subscriber.slot)
            if not audience.members:
                del self._live[channel]

    @property
    def subscribers(self) -> int:
        """How many there are."""
        return len(self._slots)

    def wait(self, subscriber: S) -> None:
        """Something is written to the subscriber by another way: what follows goes behind it."""
        self._slots.wait(subscriber)

    def leave(self, subscriber: S) -> None:
        """It is gone, and watches nothing any more."""
        self._slots.leave(subscriber)

    def push(self, record: Record) -> None:
        """Let each subscriber have the record's frame once, however many of its channels match."""
        live, at = self._live, len(self._events)
        is_watched = False
        for channel in record.channels:
            audience = live.get(channel)
            if audience is not None:
                is_watched = True
                self._touch(audience, at)
        if is_watched:
            self._events.append(event_frame(record))
            if record.exclude is not None:
                self._excluded.append((at, record.exclude))

    def push_told(self, channels: Sequence[str], frame_of: Callable[[Sequence[str]], bytes]) -> None:
        """Let each subscriber of some of the channels have the frame that `frame_of` makes for its own of them."""
        at = len(self._events)
        watched = [audience for channel in channels if (audience := self._live.get(channel)) is not None]
        for audience in watched:
            self._touch(audience, at)
        if watched:
            self._events.append(_Told(channels, frame_of))
            self._has_told = True

    def _touch(self, audience: _Audience, at: int) -> None:
        places = self._touched.get(audience)
        if places is None:
            self._touched[audience] = [at]
        elif places[-1] != at:
            places.append(at)

    def send_to(self, subscribers: Iterable[S], frames: bytes) -> None:
        """Send each of them these frames, behind what was pushed; those that watch nothing too."""
        self.flush()
        slots = array("i")
        for subscriber in subscribers:
            if subscriber.slot == NONE:
                subscriber.send(frames)
            else:
                slots.append(subscriber.slot)
        if slots:
            self._send_rest(frames, self._send_all(self._slots.fds, slots, frames))

    def flush(self) -> None:
        """Send what the pushes since the last flush have gathered."""
        if not self._events:
            return
        events, self._events = self._events, []
        touched, self._touched = self._touched, {}
        excluded, self._excluded = self._excluded, []
        has_told, self._has_told = self._has_told, False
        groups = _grouped(touched, has_told=has_told)
        for at, id_ in excluded:
            slot = self._slots.of(id_)
            if slot is not None:
                _leave_out(groups, slot, at)
        # All are sent to before anybody who is slow falls behind, and so changes who watches what.
        left = [
            (frames, rest)
            for group, slots in groups.items()
            if (rest := self._send_all(self._slots.fds, slots, frames := _frames(events, group)))
        ]
        for frames, rest in left:
            self._send_rest(frames, rest)

    def _send_rest(self, frames: bytes, rest: Iterable[tuple[int, int]]) -> None:
        """To those whose sockets have not taken all by themselves, or have not been asked."""
        slots, again = self._slots, array("i")
        for slot, sent in rest:
            subscriber = slots[slot]
            if subscriber is None:
                continue
            if slots.fds[slot] == NONE and (fd := subscriber.descriptor()) != NONE:
                # What waited has left since it was last written to.
                slots.fds[slot] = fd
                again.append(slot)
            else:
                self._send_behind(subscriber, frames, sent)
        if again:
            for slot, sent in self._send_all(slots.fds, again, frames):
                subscriber = slots[slot]
                if subscriber is not None:
                    self._send_behind(subscriber, frames, sent)

    def _send_behind(self, subscriber: S, frames: bytes, sent: int) -> None:
        self._slots.wait(subscriber)
        subscriber.send(frames[sent:] if sent else frames)


_ALONE: Final = 1


def _grouped(touched: Mapping[_Audience, Sequence[int]], *, has_told: bool) -> "dict[_Group, array[int]]":
    """Who gets the same, out of the audiences and the numbers of the events that each gets."""
    first, *more = touched.values()
    if not has_told and all(places == first for places in more):
        # As where there is one event, or one kind of them: everybody gets everything.
        return {_Group(tuple(first), ()): _all_of(touched)}
    # The largest by itself: what is done for each member is done for those of the others, and those of both.
    *others, largest = sorted(touched, key=lambda audience: len(audience.members))
    everybody = [*others, largest]
    keys: dict[int, Places] = {}
    for number, audience in enumerate(others):
        own = (number,)
        for slot in audience.members:
            key = keys.get(slot)
            keys[slot] = own if key is None else key + own
    last = (len(others),)
    by_key: dict[Places, array[int]] = {last: largest.listed}
    if keys:
        by_key[last] = array("i", [slot for slot in largest.members if slot not in keys])
        for slot, key in keys.items():
            whole = key + last if slot in largest.members else key
            slots = by_key.get(whole)
            if slots is None:
                by_key[whole] = array("i", (slot,))
            else:
                slots.append(slot)
    groups: dict[_Group, array[int]] = {}
    for key, slots in by_key.items():
        if not slots:
            continue
        audiences = [everybody[number] for number in key]
        if len(audiences) == _ALONE:
            places = tuple(touched[audiences[0]])
        else:
            places = tuple(sorted({at for audience in audiences for at in touched[audience]}))
        group = _Group(places, tuple(audience.name for audience in audiences) if has_told else ())
        same = groups.get(group)
        groups[group] = slots if same is None else same + slots
    return groups


def _all_of(audiences: Collection[_Audience]) -> "array[int]":
    if len(audiences) == _ALONE:
        return next(iter(audiences)).listed
    members: dict[int, None] = {}
    for audience in audiences:
        members |= audience.members
    return array("i", members)


def _leave_out(groups: "dict[_Group, array[int]]", slot: int, at: int) -> None:
    """Let a subscriber not have one of the events."""
    for group, slots in groups.items():
        if at in group.places and slot in slots:
            groups[group] = array("i", [one for one in slots if one != slot])
            less = group._replace(places=tuple(one for one in group.places if one != at))
            if less.places:
                groups[less] = groups.get(less, array("i")) + array("i", (slot,))
            return


def _frames(events: Sequence[bytes | _Told], group: _Group) -> bytes:
    """The frames of a group, joined once for all of it: a thousand slow viewers then hold one copy."""
    if len(group.places) == _ALONE:
        return _frame(events[group.places[0]], group)
    return b"".join([_frame(events[at], group) for at in group.places])


def _frame(event: bytes | _Told, group: _Group) -> bytes:
    if isinstance(event, bytes):
        return event
    return event.frame_of([channel for channel in event.channels if channel in group.told])
