"""Reads a whole topic from Kafka itself, works out what every client must have got, and compares."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from lastseen import close_codes
from lastseen.positions import Position

from service.adapters.kafka.log import open_log
from service.domain.errors import Unreadable
from service.domain.identity import Identity
from service.domain.records import RawRecord, read_record
from tests.oracle import Cut, Oracle
from tests.transcript import Said, Transcript
from tests.wire_watch import Fault, Watch

FORESEEN = {None, 1000, close_codes.GOING_AWAY, close_codes.TRY_AGAIN_LATER, 1012}
"""Codes by which connections may end while nodes come and go; None is a broken line."""


@dataclass
class Followed:
    """What a client that resumes has had, over all its connections."""

    identity: Identity
    begun: dict[str, Position] = field(default_factory=dict)
    got: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    left: dict[str, Position] = field(default_factory=dict)
    """Up to where what it followed to no end had come, by its position."""


@dataclass
class Verdict:
    """All that was found wrong, and how often what has happened."""

    wrong: list[str]
    seen: Counter[str]
    records: int
    faults: Counter[Fault] = field(default_factory=Counter)
    """The same by kind; an event that a client misses counts on its connection and over all of them."""

    def __str__(self) -> str:
        seen = ", ".join(f"{what} {times}" for what, times in sorted(self.seen.items()))
        return f"{self.records} records in the topic; {seen}; {len(self.wrong)} wrong"


class Checker:
    """What a topic holds, once it has been read."""

    def __init__(self, *, look_back: int, trust_claims: bool) -> None:
        self.oracle = Oracle(look_back, trust_claims=trust_claims)
        self.records = 0
        self._times: dict[int, list[int]] = {}
        self._offsets: dict[int, list[int]] = {}

    async def read(self, kafka: str, topic: str) -> None:
        """Read everything that the topic holds now. Raises AssertionError if Kafka has dropped any of it."""
        async with open_log(kafka, topic) as log:
            for partition, held in (await log.bounds()).items():
                assert held.first == 0, "a topic whose beginning is gone tells nothing"
                self.begin(partition)
                async for batch in log.read(partition, 0, held.next):
                    for raw in batch.records:
                        self.add(raw)

    def begin(self, partition: int) -> None:
        """There is such a partition; nothing of it has been read yet."""
        self._times[partition], self._offsets[partition] = [], []

    def add(self, raw: RawRecord) -> None:
        """Take the next record of its partition. Raises AssertionError for one that can't be read."""
        self.records += 1
        self._times[raw.partition].append(raw.timestamp)
        self._offsets[raw.partition].append(raw.offset)
        try:
            self.oracle.add(read_record(raw))
        except Unreadable as error:
            raise AssertionError(f"{raw.partition}:{raw.offset} can't be read: {error}") from error

    def cut_at(self, ms: float) -> Cut:
        """What the log held at a time, at the most."""
        found = {}
        for partition, times in self._times.items():
            at = bisect_right(times, ms)
            found[partition] = self._offsets[partition][at - 1] + 1 if at else 0
        return found

    def before(self, ms: float) -> Cut:
        """The last offset before the first that was appended at a time or later, per partition."""
        found = {}
        for partition, times in self._times.items():
            running = list(accumulate(times, max))
            at = bisect_left(running, ms)
            offsets = self._offsets[partition]
            found[partition] = offsets[at] - 1 if at < len(offsets) else (offsets[-1] if offsets else -1)
        return found

    def check(self, transcripts: Iterable[Transcript], followed: Sequence[Followed], head: Cut) -> Verdict:
        """Judge all connections, and what the clients that resume have had by the time the log had come to `head`."""
        verdict = Verdict([], Counter(), self.records)
        for transcript in transcripts:
            watch = self._replay(transcript, head)
            verdict.wrong += [f"{transcript.node}: {problem}" for problem in watch.wrong]
            verdict.seen.update(watch.seen)
            verdict.faults.update(watch.faults)
        for client in followed:
            verdict.wrong += self._check_followed(client, head, verdict.faults)
            verdict.seen["got by those who resume"] += sum(map(len, client.got.values()))
        return verdict

    def surely_owed(self, client: Followed, head: Cut) -> Iterator[tuple[str, tuple[int, int]]]:
        """The events, with their channels, without any of which `check` has to say that one is lost."""
        for channel, begin in client.begun.items():
            if channel.startswith("user:") or channel in client.left:
                continue
            for partition, end in head.items():
                after = begin.offsets.get(partition, -1)
                for offset in self.oracle.counted(channel, partition, after, end - 1, ()):
                    yield channel, (partition, offset)

    def _replay(self, transcript: Transcript, head: Cut) -> Watch:
        identity = transcript.identity
        watch = Watch(self.oracle, identity, transcript.held, after=transcript.after)
        # What the node has told of its head, it has read.
        told = dict.fromkeys(self._times, 0)
        for line in transcript.lines:
            if isinstance(line, Said):
                watch.ask(line.message, line.held)
                continue
            _tell(told, line.message)
            watch.hear(line.message, told, self.cut_at(line.at_ms))
        if transcript.close is None:
            watch.rest(head)
        else:
            code, reason = transcript.close
            high = self.cut_at(transcript.closed_ms)
            watch.close(code or 1006, reason, high)
            if reason == close_codes.PROJECT_DENIED and transcript.project is not None:
                watch.refuse_project(transcript.project, high)
            elif code not in FORESEEN:
                watch.wrong.append(f"{identity.user_id}: closed with {code} {reason}")
        return watch

    def _check_followed(self, client: Followed, head: Cut, faults: Counter[Fault]) -> Iterable[str]:
        for channel, begin in client.begun.items():
            if channel.startswith("user:"):
                continue  # with what came while away it begins before its position
            left = client.left.get(channel)
            for partition, end in head.items():
                next_ = end if left is None else left.offsets.get(partition, -1) + 1
                got = [o for p, o in client.got.get(channel, ()) if p == partition and o < next_]
                after = begin.offsets.get(partition, -1)
                owed = self.oracle.counted(channel, partition, after, next_ - 1, set(got))
                if not self.oracle.may_read(client.identity, channel, head):
                    owed = owed[: len(got)]
                if got != owed:
                    faults["lost"] += len(set(owed) - set(got))
                    faults["doubled"] += len(got) - len(set(got))
                    faults["out of order"] += sum(later < earlier for earlier, later in pairwise(got))
                    faults["other"] += len(set(got) - set(owed))
                    yield f"{client.identity.user_id}: {channel}, partition {partition}: {_difference(got, owed)}"


def _tell(told: dict[int, int], message: Mapping[str, object]) -> None:
    """Raise what a node has surely read by what it says."""
    if "offset" in message:
        if "replay" not in message:
            partition, offset = message["partition"], message["offset"]
            assert isinstance(partition, int)
            assert isinstance(offset, int)
            told[partition] = max(told[partition], offset)
    elif message["type"] in ("ping", "caught_up", "fell_behind"):
        for partition, offset in Position.parse(str(message["position"])).offsets.items():
            told[partition] = max(told[partition], offset + 1)


def _difference(got: list[int], owed: list[int]) -> str:
    missing, surplus = sorted(set(owed) - set(got)), sorted(set(got) - set(owed))
    doubled = sorted(offset for offset, times in Counter(got).items() if times > 1)
    return f"missing {missing[:5]}, not owed {surplus[:5]}, doubled {doubled[:5]}, {len(got)} of {len(owed)}"
