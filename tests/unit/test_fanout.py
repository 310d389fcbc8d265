"""Live delivery: each frame once to each subscriber, but to the connection that a record leaves out."""

from dataclasses import dataclass, field

from lastseen.record import encode

from service.adapters.sends.python import send_all
from service.domain.frames import event_frame
from service.domain.records import Record, read_record
from service.node.fanout import Fanout
from tests.raw import Raw, task_event


@dataclass(eq=False)
class Watcher:
    """A subscriber without a socket, and what it was sent."""

    id: str
    slot: int = -1
    sent: list[bytes] = field(default_factory=list)

    def descriptor(self) -> int:
        return -1

    def send(self, frames: bytes) -> None:
        self.sent.append(frames)


def record(offset: int, exclude: str | None = None) -> Record:
    made = encode(task_event("t", project_id="p"), exclude=exclude)
    return read_record(Raw(0, offset, made.value, made.headers, made.key))


def test_the_connection_that_is_left_out_gets_all_but_that() -> None:
    fanout: Fanout[Watcher] = Fanout(send_all)
    left_out, other = Watcher("a"), Watcher("b")
    for watcher in (left_out, other):
        fanout.add("task:t", watcher)
        fanout.add("project:p", watcher)
    records = [record(0), record(1, exclude="a"), record(2)]
    for one in records:
        fanout.push(one)
    fanout.flush()
    frames = [event_frame(one) for one in records]
    assert other.sent == [b"".join(frames)]
    assert left_out.sent == [frames[0] + frames[2]]


def test_what_is_told_names_the_channels_that_are_watched_and_keeps_its_place() -> None:
    fanout: Fanout[Watcher] = Fanout(send_all)
    task, both, neither = Watcher("a"), Watcher("b"), Watcher("c")
    for watcher, channels in ((task, ["task:t"]), (both, ["task:t", "project:p"]), (neither, ["user:u"])):
        for channel in channels:
            fanout.add(channel, watcher)
    records = [record(0), record(2)]
    fanout.push(records[0])
    fanout.push_told(["task:t", "project:p", "system"], lambda channels: b"," + ",".join(channels).encode())
    fanout.push(records[1])
    fanout.flush()
    before, behind = map(event_frame, records)
    assert task.sent == [before + b",task:t" + behind]
    assert both.sent == [before + b",task:t,project:p" + behind]
    assert neither.sent == []


def test_nobody_else_there_is_nothing_sent() -> None:
    fanout: Fanout[Watcher] = Fanout(send_all)
    only = Watcher("a")
    fanout.add("task:t", only)
    fanout.push(record(0, exclude="a"))
    fanout.flush()
    assert only.sent == []


def test_who_comes_or_goes_within_a_step_gets_what_was_pushed_meanwhile_and_no_more() -> None:
    fanout: Fanout[Watcher] = Fanout(send_all)
    stays, goes, comes = Watcher("a"), Watcher("b"), Watcher("c")
    fanout.add("task:t", stays)
    fanout.add("task:t", goes)
    records = [record(0), record(1), record(2)]
    fanout.push(records[0])
    fanout.remove("task:t", goes)
    fanout.leave(goes)
    fanout.push(records[1])
    fanout.add("task:t", comes)
    fanout.push(records[2])
    fanout.flush()
    frames = [event_frame(one) for one in records]
    assert [b"".join(one.sent) for one in (stays, goes, comes)] == [b"".join(frames), frames[0], frames[2]]
    assert comes.slot != stays.slot


def test_who_falls_behind_while_it_is_sent_to_disturbs_nobody() -> None:
    fanout: Fanout[Watcher] = Fanout(send_all)

    class Slow(Watcher):
        def send(self, frames: bytes) -> None:
            super().send(frames)
            fanout.remove("task:t", self)
            fanout.remove("project:p", self)

    watchers = [Watcher("a"), Slow("b"), Watcher("c"), Slow("d"), Watcher("e")]
    for number, watcher in enumerate(watchers):
        fanout.add("task:t", watcher)
        if number % 3 == 0:
            fanout.add("project:p", watcher)
    records = [record(0), record(1), record(2)]
    for one in records[:2]:
        fanout.push(one)
    fanout.flush()
    fanout.push(records[2])
    fanout.flush()
    frames = [event_frame(one) for one in records]
    for watcher in watchers:
        assert b"".join(watcher.sent) == b"".join(frames[:2] if isinstance(watcher, Slow) else frames)
