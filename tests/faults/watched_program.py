"""An interpreter in a terminal that two watch and both type to, from two nodes; both are killed, and come back.

`python -m tests.faults.watched_program --rounds 200` runs it on servers of its own: a page on the one node, `lastseen
tail` at a terminal on the other, a runner beside them. What the program itself has written is known from its side.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pyte
from lastseen.chunks import Chunk, read_chunk

from service.running.screen import Screen, Snapshot, read_snapshot, screen_after
from tests.faults import recorded_terminal
from tests.faults.task_book import Message, output_of
from tests.faults.watchers import Page, Terminal
from tests.faults.workshop import Workshop, own_workshop
from tests.nodes import NodeProcess, token
from tests.up_process import lastseen
from tests.waiting import until

COLUMNS, ROWS = 80, 24
_RECORDED = str(Path(recorded_terminal.__file__).resolve())
_SAY = """
import random, sys
def say(n):
    r = random.Random(n)
    for _ in range(r.randrange(20, 200)):
        w = r.choice(['plain', 'Gr\\u00fc\\u00dfe', 'x' * 70, '\\x1b[3%dm' % r.randrange(8)])
        m = r.choice(['\\n', '\\n', '\\r', '\\x1b[K\\n', '\\x1b[%d;%dH' % (r.randrange(1, 25), r.randrange(1, 81))])
        sys.stdout.write(w + ' %d' % r.randrange(1000) + m)
    if n % 17 == 0: sys.stdout.write('\\x1b[2J\\x1b[H')
    sys.stdout.write('\\x1b[m\\nsaid-%d.\\n' % n)
    sys.stdout.flush()
"""
"""`say(n)` draws something, always the same for an n, and last that it has."""
_CLI_EVERY = 10


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    rounds: int
    """In each both type, at once."""
    kills: int
    """How often both are killed, evenly spread over the rounds."""
    cancelled_by: Literal["page", "command"] = "page"


@dataclass
class Outcome:
    """What was seen."""

    task: str
    recorded: bytes = b""
    """What the program has written, from its side."""
    page: list[Message] = field(default_factory=list)
    terminal: list[Message] = field(default_factory=list)
    log: list[Message] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        def of(*names: str) -> str:
            return ", ".join(f"{name} {self.counts[name]}" for name in names)

        return "\n".join(
            [
                f"{of('rounds', 'typed by the page', 'typed over HTTP', 'typed by the command')}; {self.seconds:.0f} s",
                f"both killed {self.counts['kills']} times, {of('typed meanwhile')}",
                f"the program wrote {len(self.recorded)} bytes; events in the log {len(self.log)}, seen by the page "
                f"{len(self.page)}, by the terminal {len(self.terminal)}; {of('outputs', 'screens told')}",
                of("screens compared", "screens that differ", "most bytes behind a screen"),
                *(f"WRONG: {problem}" for problem in self.wrong),
            ]
        )


async def play(workshop: Workshop, plan: Plan) -> Outcome:
    """Play it. Raises AssertionError where it does not come to its end."""
    show = _Show(workshop, plan, f"watched-{uuid4().hex[:8]}")
    try:
        await show.play()
    finally:
        await show.close()
    return show.outcome


@dataclass
class _Show:
    workshop: Workshop
    plan: Plan
    task: str

    def __post_init__(self) -> None:
        self.outcome = Outcome(self.task)
        self._terminal = Terminal(self.task, "bob", self.workshop.site.folder)
        self._page: Page | None = None
        self._file = self.workshop.site.folder / f"{self.task}.bytes"
        self._said = 0

    async def play(self) -> None:
        began, outcome, counts = time.monotonic(), self.outcome, self.outcome.counts
        program = [sys.executable, "-i", "-q", "-c", _SAY]
        command = [sys.executable, "-S", _RECORDED, str(self._file), str(COLUMNS), str(ROWS), *program]
        a, b = self.workshop.nodes[:2]
        answer = await self.workshop.start(a, self.task, command, pty=True, columns=COLUMNS, rows=ROWS)
        page = self._page = Page(self.task, "ann", answer["position"])
        await page.open(a)
        await self._terminal.open(b)
        # What is typed to a terminal whose program has not set it up yet is echoed by that, and may be thrown away.
        await self._until_said(page)
        kills = {(number + 1) * self.plan.rounds // (self.plan.kills + 1) for number in range(self.plan.kills)}
        for number in range(self.plan.rounds):
            counts["rounds"] += 1
            if number in kills:
                await self._kill_both(page)
            else:
                await asyncio.gather(self._type_on_page(page), self._type_elsewhere(b))
                await self._until_said(page)
        await self._compare_screens(page)
        await self._cancel(page, b)
        assert await self._terminal.end() == 0
        await until(lambda: page.events[-1]["type"] == "task_cancelled", what="the page hearing of the end")
        await self.workshop.book.read_on()
        outcome.recorded, outcome.log = self._file.read_bytes(), self.workshop.book.events(self.task)
        outcome.page, outcome.terminal = page.events, self._terminal.events
        outcome.seconds = time.monotonic() - began
        outcome.wrong += page.wrong
        await page.kill()
        judge(outcome)

    async def close(self) -> None:
        """Leave nothing."""
        if self._page is not None and self._page.is_open:
            await self._page.kill()
        if self._terminal.process is not None and self._terminal.process.returncode is None:
            await self._terminal.kill()

    async def _kill_both(self, page: Page) -> None:
        """In the middle of what comes; more comes while they are away, and they return with their positions."""
        a, b = self.workshop.nodes[:2]
        await self._type_on_page(page)
        await asyncio.gather(page.kill(), self._terminal.kill())
        self.outcome.counts["kills"] += 1
        for _ in range(3):
            await self._type_elsewhere(b, meanwhile=True)
        await asyncio.gather(page.open(a), self._terminal.open(b))
        await self._until_said(page)
        await self._compare_screens(page)

    async def _cancel(self, page: Page, node: NodeProcess) -> None:
        if self.plan.cancelled_by == "page":
            ended = await page.command("task_cancel")
            assert ended["success"], ended
        else:
            status, _, said = await lastseen("cancel", self.task, "--url", node.url, "--token", token("bob"))
            assert status == 0, said

    async def _type_on_page(self, page: Page) -> None:
        result = await page.command("task_input", input=self._next())
        assert result["success"], result
        self.outcome.counts["typed by the page"] += 1

    async def _type_elsewhere(self, node: NodeProcess, *, meanwhile: bool = False) -> None:
        counts, text = self.outcome.counts, self._next()
        if self._said % _CLI_EVERY == 0:
            given = ("--url", node.url, "--token", token("bob"))
            status, _, said = await lastseen("send-input", self.task, text, *given)
            assert status == 0, said
            counts["typed by the command"] += 1
        else:
            answer = await self.workshop.post(node, f"/{self.task}/input", {"input": text}, "bob")
            assert (answer.status_code, answer.json()["success"]) == (200, True), answer.text
            counts["typed over HTTP"] += 1
        counts["typed meanwhile"] += meanwhile

    def _next(self) -> str:
        self._said += 1
        return f"say({self._said})\n"

    async def _until_said(self, page: Page) -> None:
        """Until the program waits for the next line, and both have seen that."""

        def is_so() -> bool:
            recorded = self._file.read_bytes() if self._file.exists() else b""
            if not recorded.endswith(b">>> ") or recorded.count(b"\nsaid-") != self._said:
                return False
            return len(_seen(page.events)) == len(_seen(self._terminal.events)) == len(recorded)

        await until(is_so, timeout=60, what=f"both having seen what {self._said} lines have drawn")

    async def _compare_screens(self, page: Page) -> None:
        """While the program waits: what each shows, what the nodes say, and what somebody who comes now would show."""
        recorded, counts = self._file.read_bytes(), self.outcome.counts
        screens = {"the page's": folded(page.events), "the terminal's": folded(self._terminal.events)}
        for node in self.workshop.nodes[:2]:
            name, state = node.environment["INSTANCE_ID"], await self.workshop.task(node, self.task)
            screens[f"{name}'s"] = read_snapshot(state["screen"])
            newest = next((e["data"] for e in reversed(page.events) if e["type"] == "task_screen"), None)
            if newest is not None:
                # Whoever comes now and folds the newest screen that was told, and the output behind it.
                behind = len(recorded) - newest["offset"]
                counts["most bytes behind a screen"] = max(counts["most bytes behind a screen"], behind)
                screens["a latecomer's"] = screen_after(read_snapshot(newest), _chunks(page.events))
        for whose, screen in screens.items():
            counts["screens compared"] += 1
            if screen.offset != len(recorded) or not same_screen(screen, recorded):
                counts["screens that differ"] += 1
                self.outcome.wrong.append(f"{whose} screen at {screen.offset} is another than at {len(recorded)}")


def same_screen(screen: Snapshot, recorded: bytes) -> bool:
    """Whether a screen shows what the program has drawn: to our own terminal, and to one that knows nothing of us."""
    own = Screen(screen.columns, screen.rows)
    own.feed(recorded)
    return _shown(Screen.of(screen)) == _shown(own) and _drawn(screen.text) == _drawn(recorded.decode())


def judge(outcome: Outcome) -> None:
    """Compare what both have seen with the log, and with what the program itself has written."""
    counts, wrong = outcome.counts, outcome.wrong
    counts["outputs"] = sum(event["type"] == "task_output" for event in outcome.log)
    counts["screens told"] = sum(event["type"] == "task_screen" for event in outcome.log)
    for who, events in (("the page", outcome.page), ("the terminal", outcome.terminal), ("the log", outcome.log)):
        if [_place(event) for event in events] != [_place(event) for event in outcome.log]:
            wrong.append(f"{who} has other events than the log, or in another order")
        try:
            if output_of(events, "pty") != outcome.recorded:
                wrong.append(f"{who} has other bytes than the program wrote")
        except AssertionError as error:
            wrong.append(f"{who}: {error}")
        if events[-1]["type"] != "task_cancelled":
            wrong.append(f"the last that {who} has is {events[-1]['type']}")


def _place(event: Message) -> tuple[int, int, str]:
    return event["partition"], event["offset"], event["id"]


def _chunks(events: Sequence[Message]) -> list[Chunk]:
    return [read_chunk(event["data"]) for event in events if event["type"] == "task_output"]


def _seen(events: Sequence[Message]) -> bytes:
    return b"".join(chunk.raw for chunk in _chunks(events))


def folded(events: Sequence[Message]) -> Snapshot:
    """The screen that whoever has seen all of a task has drawn."""
    screen = Screen(COLUMNS, ROWS)
    for chunk in _chunks(events):
        screen.feed(chunk.raw)
    snapshot = screen.snapshot()
    assert snapshot is not None
    return snapshot


def _shown(screen: Screen) -> Snapshot | None:
    """What there is to see, whatever sequence was unfinished."""
    screen.feed(b"\x18\x18\x1b\\\x18")
    return screen.snapshot()


def _drawn(text: str) -> object:
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.Stream(screen).feed(text)
    cells = [screen.buffer[line][column] for line in range(ROWS) for column in range(COLUMNS)]
    # What colour an empty cell would write in is nothing to see.
    return [cell.data if cell.data == " " else (cell.data, cell.fg) for cell in cells], screen.cursor.y, screen.cursor.x


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200, help="in each of which both type")
    parser.add_argument("--kills", type=int, default=10, help="how often both are killed")
    parser.add_argument("--cancelled-by", choices=["page", "command"], default="page")
    given = parser.parse_args()
    plan = Plan(given.rounds, given.kills, given.cancelled_by)
    async with own_workshop(nodes=2, runners=1) as workshop:
        outcome = await play(workshop, plan)
    print(plan, outcome, sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
