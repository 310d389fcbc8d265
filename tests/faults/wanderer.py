"""One schedule: a client that is cut, comes back, changes its channels and its pace; and what became of it."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Final, Literal, NamedTuple
from urllib.parse import urlencode

from lastseen.names import PRESENCE_TYPES
from lastseen.notices import Message
from lastseen.positions import Position

from tests.faults.paced_line import PacedLine
from tests.faults.packaged import PackagedFollower
from tests.faults.rules import Return, RuleFollower
from tests.faults.site import Asking, Site
from tests.nodes import token
from tests.transcript import Heard, Said, Transcript, now_ms
from tests.waiting import until

RETURNS: Final[tuple[Return, ...]] = ("each its own", "one lowest", "the connect's")
SETTLE_SECONDS: Final = 120.0
_ACTIONS: Final = {"stay": 3, "subscribe": 6, "again": 2, "unsubscribe": 2, "trickle": 2, "stall": 2, "cut": 6}
_LONGEST_CUT: Final = 200_000


class Claim(NamedTuple):
    """Where a channel begins, as the answer to a start by time or by number says."""

    channel: str
    kind: Literal["since", "last"]
    value: float
    """ms since 1970, or how many."""
    held: Mapping[int, int]
    """What the log surely held when it was asked for."""
    position: Position
    at_ms: float


@dataclass
class Wanderer:
    """One schedule; it is the same for the same seed, as far as the servers let it be."""

    number: int
    site: Site
    random: Random
    actions: int = 12
    """What it does at most before it goes to the end."""
    transcripts: list[Transcript] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    claims: list[Claim] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    head: dict[int, int] = field(default_factory=dict)
    """What the log held when nothing went wrong any more: so far it has to have come."""

    def __post_init__(self) -> None:
        self.user = f"w{self.number}"
        kind = PackagedFollower if self.number % 3 == 2 else RuleFollower
        self.follower: RuleFollower | PackagedFollower = kind(self.user, self.random)
        self.project = f"p{self.random.randrange(6)}" if self.random.random() < 0.5 else None
        self._how: Return = "each its own"
        self._first = "earliest" if self.random.random() < 0.3 else None
        self._line: PacedLine | None = None
        self._away = 0.0
        self._is_greeted = False
        self._asking: dict[str, Asking] = {}
        self._starts: dict[int, tuple[Message, Mapping[int, int]]] = {}
        self._sends: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go through the schedule, and then to the end of the log. What does not come there is told in `wrong`."""
        self.site.users.append(self.user)
        conversing = asyncio.create_task(self._converse_for_ever())
        acting = asyncio.create_task(self._act())
        try:
            await asyncio.wait([conversing, acting], return_when=asyncio.FIRST_COMPLETED)
            if conversing.done():
                await conversing
            await acting
            if self._line is not None:
                self._line.rate = None
            self.head = await self.site.heads()
            await self._settle()
        except AssertionError as error:
            lacking = self.follower.lacks(self.head)
            self.wrong.append(f"{self.user}: {error}; it lacks {lacking[:5]}; {self._present()}")
            self.counts["stuck"] += 1
            self.follower.give_up()
            if self.transcripts and self.transcripts[-1].close is None:
                self.transcripts[-1].end(None, "")
        finally:
            # Nothing is heard from here on, so that what is judged is what was found to be whole.
            for task in (conversing, acting):
                task.cancel()
            await asyncio.gather(conversing, acting, return_exceptions=True)
            self.site.users.remove(self.user)

    async def _settle(self) -> None:
        """Wait for the end of the log; as long as something comes, in its turn among all the others, it goes on."""
        what = f"schedule {self.number} at the end of the log"
        while not self._has_all():
            await until(partial(self._has_moved, self.follower.lacks(self.head)), timeout=SETTLE_SECONDS, what=what)

    def _has_moved(self, lacked: list[str]) -> bool:
        return self._has_all() or self.follower.lacks(self.head) != lacked

    def _present(self) -> str:
        """What can be said of the present connection."""
        if not self.transcripts:
            return "it never was connected"
        last, line = self.transcripts[-1], self._line
        heard = [said for said in last.lines if isinstance(said, Heard)]
        ago = [f"{(now_ms() - one.at_ms) / 1000:.1f} s ago {one.message['type']}" for one in heard[-3:]]
        pace = None if line is None else (line.read, line.rate, line.cut_in, line.was_cut)
        said = [one.message for one in last.lines if isinstance(one, Said)][-2:]
        return f"{len(self.transcripts)} connections, {last.node}, {pace}, {len(heard)} heard: {ago}, said {said}"

    def _has_all(self) -> bool:
        if self._line is None or not self._is_greeted:
            return False
        if not self.follower.lacks(self.head):
            return True
        self._want([name for name in self.follower.followed.begun if name not in self.follower.subscribed])
        return False

    def _want(self, names: list[str], start: Message | None = None) -> None:
        """Subscribe, where there is somebody to be asked."""
        if self._line is not None:
            self._say_soon(self.follower.subscribe(names, start))

    async def _act(self) -> None:
        random = self.random
        await until(lambda: self._is_greeted, timeout=SETTLE_SECONDS, what="the first greeting")
        for _ in range(random.randint(3, self.actions)):
            (action,) = random.choices(list(_ACTIONS), list(_ACTIONS.values()))
            match action:
                case "stay":
                    await asyncio.sleep(random.uniform(0.05, 0.8))
                case "subscribe":
                    names = sorted(
                        {self.site.some_channel(random, self.user) for _ in range(random.choice([1, 1, 2, 4]))}
                    )
                    self._want(names, self._some_start() if random.random() < 0.7 else None)
                case "again" if self.follower.subscribed:
                    self._want([random.choice(self.follower.subscribed)], self._some_start())
                case "unsubscribe" if self.follower.subscribed:
                    self._say_soon(self.follower.unsubscribe(random.choice(self.follower.subscribed)))
                case "trickle" | "stall":
                    await self._read_slowly(random.uniform(500, 10_000) if action == "trickle" else 0.0)
                case "cut":
                    await self._cut()
                case _:
                    pass
            await asyncio.sleep(random.choice([0, 0, 0.02, 0.3]))

    async def _read_slowly(self, rate: float) -> None:
        self.counts["slow"] += 1
        if self._line is not None:
            self._line.rate = rate
            await asyncio.sleep(self.random.uniform(0.5, 2))
        if self._line is not None and not (self.random.random() < 0.2):
            # Else it is cut, or comes to its end, with the line as slow as that.
            self._line.rate = None

    async def _cut(self) -> None:
        random, line = self.random, self._line
        if line is None:
            return
        self._how = random.choice(RETURNS)
        self._away = random.choice([0, 0, 0, 0.2, 1, 3])
        match random.randrange(6):
            case 0:
                line.cut(reset=random.random() < 0.5)
            case 1:
                await line.send({"type": "subscribe", "channel": "broadcast", "ref": "half"}, half=True)
            case _:
                line.cut_in = int(math.exp(random.uniform(0, math.log(_LONGEST_CUT))))
                await asyncio.sleep(random.uniform(0.1, 1))
                line.cut(reset=random.random() < 0.5)
        self.counts["kills"] += 1
        await until(lambda: self._line is not line and self._is_greeted, timeout=SETTLE_SECONDS, what="a return")

    def _some_start(self) -> Message:
        random = self.random
        match random.randrange(4):
            case 0:
                return {"after": "earliest"}
            case 1:
                since = time.time() - random.uniform(0, 20)
                return {"since": datetime.fromtimestamp(since, UTC).isoformat()}
            case 2:
                return {"last": random.choice([1, 10, 100])}
            case _:
                # As of a client whose memory was put back: anywhere that was so once.
                offsets = {p: random.randint(max(-1, n - 500), n - 1) for p, n in self.site.held.items()}
                return {"after": Position(self.site.ground.epoch, offsets).token}

    async def _converse_for_ever(self) -> None:
        while True:
            away, self._away = self._away, 0.0
            await asyncio.sleep(away)
            # Perhaps the node is gone just now.
            with contextlib.suppress(OSError):
                await self._converse()
            await asyncio.sleep(self.random.uniform(0.02, 0.2))

    async def _converse(self) -> None:
        random = self.random
        node = random.choice(self.site.nodes)
        after, first = self.follower.connect(self._how)
        after = after or (self._first if not self.transcripts else None)
        query = {"project_id": self.project, "after": after, "token": token(self.user, role="admin")}
        address = f"{node.url.replace('http', 'ws')}/ws?{urlencode({k: v for k, v in query.items() if v is not None})}"
        asking = self.site.ask()
        line = await PacedLine.open(address, receive_buffer=random.choice([2048, 16_384, None]))
        identity = self.follower.followed.identity
        transcript = Transcript(identity, node.environment["INSTANCE_ID"], self.project, after, dict(self.site.held))
        self.transcripts.append(transcript)
        self._starts.clear()
        self._asking.clear()
        try:
            async for message in line.messages():
                transcript.hear(message)
                if message["type"] == "connection_established":
                    self._line, self._is_greeted = line, True
                    if after is not None:
                        self._asking.update((entry["channel"], asking) for entry in message["subscriptions"])
                    answers = [*self.follower.receive(message), *first]
                else:
                    self._note(message)
                    answers = self.follower.receive(message)
                if self.follower.again:
                    again = list(self.follower.again)
                    self.follower.again.clear()
                    answers += self.follower.subscribe(again)
                self._say_soon(answers)
            transcript.end(*line.close)
        finally:
            self._line, self._is_greeted = None, False
            for task in self._sends:
                task.cancel()
            await asyncio.gather(*self._sends, return_exceptions=True)
            line.end()
            self.follower.disconnected()

    def _note(self, message: Message) -> None:
        """Count, and remember what is to be judged."""
        match message["type"]:
            case _ if "replay" in message and message["type"] not in PRESENCE_TYPES:
                asking = self._asking.get(message["replay"][0])
                if asking is not None:
                    self.counts[f"from {self.site.source(asking, message['partition'], message['offset'])}"] += 1
            case "subscription_result" if (asked := self._starts.get(message["ref"])) is not None:
                start, held = asked
                position = Position.parse(message["position"])
                if "since" in start:
                    at = datetime.fromisoformat(start["since"]).timestamp() * 1000
                    self.claims.append(Claim(message["channel"], "since", at, held, position, now_ms()))
                elif "last" in start:
                    self.claims.append(Claim(message["channel"], "last", start["last"], held, position, now_ms()))
            case "fell_behind" | "caught_up":
                for name in message["channels"]:
                    self._asking.pop(name, None)

    def _say_soon(self, messages: list[Message]) -> None:
        """Written down now, so that the answers come behind it; on its way at once."""
        line = self._line
        if line is None:
            return
        for message in messages:
            if message["type"] == "subscribe":
                held = dict(self.site.held)
                names = message.get("channels") or [message["channel"]]
                self._asking.update(dict.fromkeys(names, self.site.ask()))
                self._starts[message["ref"]] = (message, held)
                self.transcripts[-1].say(message, held)
            task = asyncio.create_task(line.send(message))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
