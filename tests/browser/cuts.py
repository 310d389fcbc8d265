"""The sample React app follows a task through random cuts, and shows exactly what the program has written.

`python -m tests.browser.cuts --cuts 100` does it at full size on an instance of its own, says what it counted, and ends
with 1 where the page shows anything else than the program wrote.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from tests.browser.chromium import browsing, serving
from tests.browser.devtools import Tab, tab_of
from tests.browser.line import Line, line_to
from tests.driven import Driven, Process, ended
from tests.javascript.node import Package, copied
from tests.up_process import Up
from tests.waiting import until

PROGRAM: Final = """
import os, select, sys, time
written = open(sys.argv[1], "wb", buffering=0)
number, typed = 0, b""
while not typed:
    if select.select([0], [], [], 0)[0]:
        typed = os.read(0, 1000)
    line = f"{number} Grüße 日本語 🎉 \\x1b[1m<b>&amp;</b> ".encode() + (typed or b"\\n")
    written.write(line)
    cut = number % len(line)
    os.write(1, line[:cut])
    if number % 3 == 0:
        time.sleep(0.03)
    os.write(1, line[cut:])
    number += 1
"""
"""Writes numbered lines, cut anywhere, until something is typed, and that last; all of it into a file as well."""
KINDS: Final = ("sockets", "in flight", "restart", "offline", "restart while offline")
WITHIN: Final = 90.0


@dataclass
class Outcome:
    """What was counted."""

    cuts: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    bytes: int = 0
    connections: int = 0
    attempts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """What the page shows and should not, a sentence each."""

    @property
    def figures(self) -> str:
        """All of it, in a few lines."""
        cuts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.cuts.items()))
        return (
            f"{self.cuts.total()} cuts in {self.seconds:.0f} s ({cuts})\n"
            f"{self.connections} connections, {self.attempts} attempts to come back\n"
            f"{self.lines} lines, {self.bytes} bytes written; "
            + ("; ".join(self.wrong) if self.wrong else "the page shows exactly those")
        )


@dataclass(frozen=True)
class Cutting:
    """A page, and all that may come between it and its task."""

    driven: Driven
    line: Line
    tab: Tab
    chance: random.Random

    async def cut(self, kind: str) -> None:
        """Cut it so; back when the page has come back and shows more."""
        before, _, _ = await self._seen()
        if kind == "sockets":
            self.line.cut()
        elif kind == "in flight":
            self.line.swallow(self.chance.randrange(1, 20_000))
        elif kind == "restart":
            await self.driven.kill_and_see_it_back("node-1")
        else:
            await self._offline(kind)
        # Behind a new connection: what is shown from here on has come over it.
        await until(lambda: self._is_past(before, 0), timeout=WITHIN, what=f"a new connection after {kind}")
        _, _, shown = await self._seen()
        more = self.chance.randrange(1, 2_000)
        await until(lambda: self._is_past(before, shown + more), timeout=WITHIN, what=f"more output after {kind}")

    async def _offline(self, kind: str) -> None:
        # A page that goes offline is not told that its socket is dead: it would find that out by the silence, a minute
        # later.
        self.line.is_down = True
        self.line.cut()
        await until(self._is_off, timeout=WITHIN, what="the page being told of the end of its connection")
        await self.tab.offline(True)
        self.line.is_down = False
        tried = (await self._seen())[1]
        attempts = self.chance.randrange(1, 4)

        async def has_tried() -> bool:
            return (await self._seen())[1] >= tried + attempts

        if kind == "restart while offline":
            await self.driven.kill_and_see_it_back("node-1")
        await until(has_tried, timeout=WITHIN, what="attempts in vain")
        await self.tab.screenshot("sample-offline")
        await self.tab.offline(False)

    async def _is_off(self) -> bool:
        return bool(await self.tab.evaluate("document.querySelector('#line').dataset.state !== 'connected'"))

    async def _is_past(self, connections: int, shown: int) -> bool:
        now, _, characters = await self._seen()
        return now > connections and characters >= shown

    async def _seen(self) -> tuple[int, int, int]:
        """Connections so far, attempts to come back, characters shown."""
        seen = await self.tab.evaluate(
            "(({connections, attempts}, {characters}) => [connections, attempts, characters ?? 0].map(Number))"
            "(document.querySelector('#line').dataset, document.querySelector('#output').dataset)"
        )
        connections, attempts, characters = seen
        return connections, attempts, characters


def built_sample(package: Package) -> Path:
    """The sample app of a built package, as a web server would serve it."""
    package.run("vite", "build", "sample")
    return package.folder / "sample" / "dist"


async def follow_through_cuts(driven: Driven, site: Path, folder: Path, kinds: Sequence[str], seed: int) -> Outcome:
    """The page follows a task while it is cut so, one after the other; types to it, and cancels another one."""
    began = time.monotonic()
    task, other = f"cut-{seed}", f"cancelled-{seed}"
    outcome = Outcome()
    chance = random.Random(seed)
    token = await driven.token("--user", "ann", "--project", "shop")
    written = folder / "written"
    written.touch()
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(serving((site / "index.html").read_bytes(), site))
        line = await stack.enter_async_context(line_to(urlsplit(driven.up.instance["url"]).port or 0))
        program = await start(driven, stack, task, sys.executable, "-c", PROGRAM, str(written))
        fragment = {"url": line.url, "token": token, "project": "shop"}
        profile = folder / "profile"
        await stack.enter_async_context(browsing(f"{page.url}#{urlencode({**fragment, 'task': task})}", profile))
        tab = await stack.enter_async_context(tab_of(profile))
        await until(lambda: is_shown(tab, "#output", "9 Gr"), timeout=WITHIN, what="output in the page")
        await tab.screenshot("sample-following")
        cutting = Cutting(driven, line, tab, chance)
        for kind in kinds:
            await cutting.cut(kind)
            outcome.cuts[kind] += 1
            print(f"{outcome.cuts.total()} of {len(kinds)} cuts, {time.monotonic() - began:.0f} s: {kind}", flush=True)
            assert program.returncode is None, "it writes until something is typed"
        await tab.type("#input", "that was all")
        await tab.click("#send")
        assert await ended(program) == 0
        await until(lambda: is_shown(tab, "#status", "completed"), timeout=WITHIN, what="the end in the page")
        await until(lambda: is_shown(tab, "#answer", "applied"), timeout=WITHIN, what="what became of the input")
        await tab.screenshot("sample-ended")
        dataset = await tab.evaluate("({...document.querySelector('#line').dataset})")
        outcome.connections, outcome.attempts = int(dataset["connections"]), int(dataset["attempts"])
        truth = written.read_bytes()
        assert truth.endswith(b" that was all\n"), truth[-100:]
        outcome.lines, outcome.bytes = truth.count(b"\n"), len(truth)
        outcome.wrong += differences(await tab.evaluate("document.querySelector('#output').textContent"), truth)
        for what in ("#missing", "#gaps", "#error"):
            if told := await tab.evaluate(f"document.querySelector('{what}')?.textContent ?? null"):
                outcome.wrong.append(f"it says: {told}")
        sleeper = await start(
            driven, stack, other, sys.executable, "-u", "-c", "print('up'); import time; time.sleep(900)"
        )
        await tab.evaluate(f"void (location.hash = {json.dumps(urlencode({**fragment, 'task': other}))})")
        await until(lambda: is_shown(tab, "#status", "running"), timeout=WITHIN, what="the other task in the page")
        await tab.click("#cancel")
        assert await ended(sleeper) != 0
        await until(
            lambda: is_shown(tab, "#status", "cancelled"), timeout=WITHIN, what="the cancelled task in the page"
        )
    outcome.seconds = time.monotonic() - began
    return outcome


async def start(driven: Driven, stack: AsyncExitStack, task: str, *command: str) -> Process:
    """A program whose input comes from the page; it does not outlive the block."""
    program = await driven.start_run(task, *command, project="shop", takes_input=True)

    async def end() -> None:
        if program.returncode is None:
            program.terminate()
            await program.wait()

    stack.push_async_callback(end)
    return program


async def is_shown(tab: Tab, selector: str, text: str) -> bool:
    """Whether an element is there and has this in its text."""
    expression = f"document.querySelector({json.dumps(selector)})?.textContent.includes({json.dumps(text)}) ?? false"
    return (await tab.evaluate(expression)) is True


def differences(shown: str, written: bytes) -> list[str]:
    """Where what is shown is first not what was written."""
    wanted = written.decode()
    if shown == wanted:
        return []
    pairs = zip(shown, wanted, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(shown), len(wanted)))
    return [
        f"{len(shown)} characters are shown of {len(wanted)}: from {at} on {shown[at : at + 80]!r} "
        f"instead of {wanted[at : at + 80]!r}"
    ]


def plan(cuts: int, seed: int) -> list[str]:
    """Which cuts, shuffled; one in five is a restart, which takes the longest."""
    often = ("sockets", "in flight", "offline")
    round_ = (*often, *often, *often[:2], "restart", "restart while offline")
    kinds = [round_[number % len(round_)] for number in range(cuts)]
    random.Random(seed).shuffle(kinds)
    return kinds


async def main(folder: Path, cuts: int, seed: int) -> int:
    """The full size, in an empty folder; the exit code."""
    up = Up(folder / "instance", "--no-welcome")
    try:
        package = copied(folder)
        await asyncio.to_thread(package.run, "tsdown")
        site = await asyncio.to_thread(built_sample, package)
        await up.start()
        driven = Driven(up)
        await driven.until_well()
        outcome = await follow_through_cuts(driven, site, folder, plan(cuts, seed), seed)
        await asyncio.gather(*driven.drains)
    finally:
        await up.close()
    print(outcome.figures)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lastseen-cuts-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        sys.exit(asyncio.run(main(Path(made), given.cuts, given.seed)))
