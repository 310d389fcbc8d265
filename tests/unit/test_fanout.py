"""Live delivery: each frame once to each subscriber, but to the connection that a record leaves out."""

from dataclasses import dataclass, field

from lastseen.record import encode

from service.domain.frames import event_frame
from service.domain.records import Record, read_record
from service.node.fanout import Fanout
from tests.raw import Raw, task_event


@dataclass(eq=False)
class Watcher:
    """A subscriber, and what it was sent."""

    id: str
    pending: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def send(self, frames: bytes) -> None:
        self.sent.append(frames)


def record(offset: int, exclude: str | None = None) -> Record:
    made = encode(task_event("t", project_id="p"), exclude=exclude)
    return read_record(Raw(0, offset, made.value, made.headers, made.key))


def test_the_connection_that_is_left_out_gets_all_but_that() -> None:
    fanout: Fanout[Watcher] = Fanout()
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
    fanout: Fanout[Watcher] = Fanout()
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
    fanout: Fanout[Watcher] = Fanout()
    only = Watcher("a")
    fanout.add("task:t", only)
    fanout.push(record(0, exclude="a"))
    fanout.flush()
    assert only.sent == []
