"""The console in a real browser: signed in, a task followed and answered, the past looked up, the cluster seen."""

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.browser.console import WITHIN, console_tab, go, problems, shown_lines, shows, sign_in_link, sized, typed
from tests.browser.devtools import Tab
from tests.driven import Driven
from tests.waiting import until

PROGRAM = """
import sys
for number in range(40): print("line", number)
print("name?", flush=True)
for said in sys.stdin: print("got", said.strip(), flush=True)
"""
PAGES = {
    "tasks": "console-1",
    "feed": "task_cancelled",
    "history": "the oldest first",
    "projects": "Online",
    "cluster": "node-1",
    "quarantine": "Quarantine",
}
"""And what is to be seen on them once they are there."""


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with console_tab(tmp_path) as tab:
        yield tab


async def said(tab: Tab, text: str) -> bool:
    """Whether a row of the page says this."""
    rows: list[str] = await tab.evaluate("[...document.querySelectorAll('main li')].map((row) => row.innerText)")
    return any(text in " ".join(row.split()) for row in rows)


@pytest.mark.timeout(400)  # an instance is started, and a node of it killed
async def test_who_has_the_link_follows_answers_and_looks_back(driven: Driven, tab: Tab) -> None:
    await driven.until_well()
    url = driven.up.instance["url"]
    seen: list[str] = []
    link = await sign_in_link(driven)

    run = await driven.start_run("console-1", sys.executable, "-u", "-c", PROGRAM, takes_input=True)
    await go(tab, link)
    await shows(tab, "console-1")
    assert "code" not in await tab.evaluate("location.href"), "it is good for nothing any more"
    seen += await problems(tab)

    # By the list to the task; what it asks is answered.
    await tab.click("a[href='/tasks/console-1']")
    await shows(tab, "name?", "[role=log]")
    await typed(tab, "Ann")
    await shows(tab, "got Ann", "[role=log]")
    await tab.screenshot("console-task")

    # The node is killed: nothing is missing afterwards, nothing is there twice.
    await driven.kill_and_see_it_back("node-1")
    await driven.until_well()
    await until(lambda: tab.evaluate("!document.body.innerText.includes('Reconnecting')"), what="being back")
    await typed(tab, "again")
    await shows(tab, "got again", "[role=log]")
    await tab.evaluate("document.querySelector('[role=log]').style.flex = '0 0 2000px'")

    async def has_all() -> bool:
        wanted = [*(f"line {number}" for number in range(40)), "name?", "got Ann", "got again"]
        return await shown_lines(tab) == wanted

    await until(has_all, what="all lines, each once")
    while_it_ran = datetime.now(UTC)
    await tab.click("button.danger")
    await shows(tab, "cancelled", ".title")
    assert await run.wait() != 0
    seen += await problems(tab)

    # What happened from a time on, and how the task was then and is now.
    for at, was in (
        (datetime.now(UTC) - timedelta(days=1), "had not begun"),
        (while_it_ran, "running"),
        (None, "cancelled"),
    ):
        channel = {"channel": "task:console-1"}
        await go(tab, f"{url}/history?{urlencode(channel if at is None else {**channel, 'at': at.isoformat()})}")
        await shows(tab, was, ".then")
        await shows(tab, "task_started" if at != while_it_ran else "task_cancelled", "main")
    seen += await problems(tab)

    # How far everything is: the node that was killed has one row. Each page by day, at night and on a phone.
    await go(tab, f"{url}/cluster")
    for text in ("log writer does not lag", "node-1 answers"):
        await until(lambda text=text: said(tab, text), timeout=WITHIN, what=text)
    rows = "[...document.querySelectorAll('main .list > li b')].filter((one) => one.innerText === 'node-1').length"
    assert await tab.evaluate(rows) == 1
    for width, scheme in ((1200, "light"), (1200, "dark"), (360, "dark")):
        await sized(tab, width, scheme)
        for page, text in PAGES.items():
            await go(tab, f"{url}/{page}")
            await shows(tab, "live", "header.top")
            await shows(tab, text, "main")
            await tab.screenshot(f"console-{page}-{scheme}-{width}")
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, f"{page} is too wide"
            seen += await problems(tab)

    # The link is good once, and it says so; a token signs in too.
    await go(tab, "about:blank")
    await go(tab, link)
    await shows(tab, "code", "[role=alert]")
    await tab.screenshot("console-sign-in")
    await tab.type("#token", await driven.token("--user", "ann"))
    await tab.click("main.sign-in button[type=submit]")
    await shows(tab, "", "nav")
    assert seen == []
