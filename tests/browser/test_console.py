"""The console in a real browser: signed in, a task followed and answered, the past looked up, the cluster seen."""

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.browser.chromium import browsing, find_chromium
from tests.browser.devtools import Tab, tab_of
from tests.driven import Driven
from tests.up_process import lastseen
from tests.waiting import until

PROGRAM = """
import sys
for number in range(40): print("line", number)
print("name?", flush=True)
for said in sys.stdin: print("got", said.strip(), flush=True)
"""
NOTICE = """
window.problems = [];
const note = (what) => window.problems.push(String(what));
addEventListener("securitypolicyviolation", (e) => note("CSP " + e.violatedDirective + " " + e.sourceFile));
addEventListener("error", (e) => note(e.message));
addEventListener("unhandledrejection", (e) => note(e.reason));
const told = console.error;
console.error = (...all) => { note(all.join(" ")); told(...all); };
"""
"""Before any script of a page: what a developer would see in red."""
PAGES = {"tasks": "console-1", "feed": "", "history": "", "projects": "", "cluster": "node-1", "quarantine": ""}
"""And what is to be seen on them once they are there."""


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    find_chromium()
    async with browsing("about:blank", tmp_path / "profile"), tab_of(tmp_path / "profile") as tab:
        await tab.call("Page.enable")
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=NOTICE)
        yield tab


async def shows(tab: Tab, text: str, within: str = "body") -> None:
    """Wait until the page has this text."""
    found = f"document.querySelector({json.dumps(within)})?.innerText.includes({json.dumps(text)}) ?? false"
    await until(lambda: tab.evaluate(found), timeout=40, what=f"{text!r} in {within}")


async def go(tab: Tab, url: str) -> None:
    await tab.call("Page.navigate", url=url)


async def problems(tab: Tab) -> list[str]:
    found: list[str] = await tab.evaluate("window.problems ?? []")
    return found


async def sized(tab: Tab, width: int, scheme: str) -> None:
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
    )
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


async def shown_lines(tab: Tab) -> list[str]:
    """The lines of the output that are in the page."""
    lines: list[str] = await tab.evaluate(
        "[...document.querySelectorAll('[role=log] .row')].map((row) => row.innerText.trimEnd())"
    )
    return lines


async def typed(tab: Tab, text: str) -> None:
    await tab.type("form.line input", text)
    await tab.click("form.line button[type=submit]")


@pytest.mark.timeout(400)  # an instance is started, and a node of it killed
async def test_who_has_the_link_follows_answers_and_looks_back(driven: Driven, tab: Tab) -> None:
    await driven.until_well()
    url = driven.up.instance["url"]
    seen: list[str] = []
    status, out, err = await lastseen("console", "--data-dir", str(driven.up.data_dir))
    assert status == 0, err
    link = next(word for word in (out + err).split() if "#code=" in word)

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
    await tab.evaluate("document.querySelector('[role=log]').style.height = '2000px'")

    async def has_all() -> bool:
        wanted = [*(f"line {number}" for number in range(40)), "name?", "got Ann", "got again"]
        return await shown_lines(tab) == wanted

    await until(has_all, what="all lines, each once")
    await tab.click("button.danger")
    await shows(tab, "cancelled", ".title")
    assert await run.wait() != 0
    seen += await problems(tab)

    # What happened at a time; how far everything is; each page by day, at night and on a phone.
    at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    await go(tab, f"{url}/history?channel=task:console-1&at={at.replace('+', '%2B')}")
    await shows(tab, "task_started")
    await go(tab, f"{url}/cluster")
    for text in ("node-1", "log"):
        await shows(tab, text)
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
    await tab.type("#token", await driven.token("--user", "ann"))
    await tab.click("main.sign-in button[type=submit]")
    await shows(tab, "", "nav")
    assert seen == []
