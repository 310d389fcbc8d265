"""The console in a real browser: much output, terminals, questions, and lists of more than a page."""

import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from tests.browser.console import (
    WITHIN,
    console_tab,
    go,
    press,
    problems,
    shown_lines,
    shows,
    sign_in_link,
    sized,
    typed,
)
from tests.browser.devtools import Tab
from tests.driven import Driven, ended
from tests.raw import UNUSABLE_VALUE, unusable_headers
from tests.waiting import until

LINES = 100_000
MUCH = f"""
print("how many?", flush=True)
input()
print(*map("line {{}}".format, range({LINES})), sep="\\n", flush=True)
input()
"""
STAND_IN = str(Path(__file__).parents[1] / "stand_in_claude.py")
MOST_HELD = 192 * 1024 * 1024
PROJECTS = 120


@pytest.fixture(scope="module")
async def tab(driven: Driven, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    """Signed in; nothing goes wrong in any of its pages."""
    await driven.until_well()
    async with console_tab(tmp_path_factory.mktemp("console")) as tab:
        await sized(tab, 1200)
        await go(tab, await sign_in_link(driven))
        await shows(tab, "live", "header.top")
        yield tab


@pytest.fixture
async def url(driven: Driven, tab: Tab) -> AsyncIterator[str]:
    yield driven.up.instance["url"]
    assert await problems(tab) == []


async def publish(driven: Driven, *events: dict[str, Any]) -> None:
    token = await driven.token("--user", "ann", "--role", "admin")
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            f"{driven.up.instance['url']}/api/v1/events",
            json=events,
            headers={"Authorization": f"Bearer {token}"},
        )
    assert answer.status_code == 202, answer.text
    assert [one for one in answer.json() if "error" in one] == []


async def held_within(tab: Tab, what: str) -> None:
    """That the page holds no more than it should; says what kept it from answering."""
    await tab.call("HeapProfiler.collectGarbage")
    usage = await tab.call("Runtime.getHeapUsage")
    held = usage["usedSize"] + usage.get("backingStorageSize", 0)
    tasks = sorted(await tab.evaluate("window.longTasks"), reverse=True)
    print(f"{what}: {held / 1e6:.1f} MB held; {len(tasks)} long tasks, in ms: {tasks[:10]}")
    assert held < MOST_HELD


async def test_a_hundred_thousand_lines_as_they_come(driven: Driven, tab: Tab, url: str) -> None:
    run = await driven.start_run("much", sys.executable, "-c", MUCH, takes_input=True)
    await go(tab, f"{url}/tasks/much")
    await shows(tab, "how many?", "[role=log]")
    await typed(tab, "many")
    await shows(tab, f"line {LINES - 1}", "[role=log]")
    lines = await shown_lines(tab)
    assert lines[-1] == f"line {LINES - 1}"
    assert len(lines) < 200, "only what is in view is in the page"
    # What was first is still there, for whoever scrolls up; and more that comes does not take him back down.
    await tab.evaluate("document.querySelector('[role=log]').scrollTop = 0")
    await shows(tab, "line 0", "[role=log]")
    await typed(tab, "that was all")
    assert await ended(run) == 0
    await shows(tab, "completed", ".title")
    assert (await shown_lines(tab))[:2] == ["how many?", "line 0"]
    await held_within(tab, f"{LINES} lines")
    await tab.screenshot("console-much")


async def test_a_terminal_has_the_size_that_its_task_says(driven: Driven, tab: Tab, url: str) -> None:
    task = {"task_id": "wide", "user_id": "ann"}
    wide = "=" * 132

    def written(offset: int, text: str) -> dict[str, Any]:
        data = {"stream": "pty", "offset": offset, "bytes": len(text.encode()), "text": text}
        return {"type": "task_output", **task, "data": data}

    # The page is there before anybody knows of a terminal.
    await publish(driven, {"type": "task_status_change", **task, "data": {"status": "running", "previous": "pending"}})
    await go(tab, f"{url}/tasks/wide")
    await shows(tab, "nothing yet", "main")
    started = {"command": ["top"], "pty": True, "columns": 132, "rows": 10}
    asks = "\x1b[6n\x1b[c\x1b]11;?\x07"
    text = f"{wide}\r\nstatus{asks}\r\n"
    await publish(driven, {"type": "task_started", **task, "data": started}, written(0, text))
    await shows(tab, "status", ".tty")
    rows = "[...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent.trimEnd())"
    assert await tab.evaluate(rows) == [wide, "status", *[""] * 8]
    # What the program asks its terminal is not for a viewer to answer; what he types goes there.
    inputs = "window.sent.filter(({type}) => type === 'task_input').map(({input}) => input)"
    assert await tab.evaluate(inputs) == []
    await tab.evaluate("document.querySelector('.xterm-helper-textarea').focus()")
    await press(tab, "y")
    await until(lambda: tab.evaluate(f"JSON.stringify({inputs}) === '[\"y\"]'"), what="what was typed being sent")
    # Whoever comes later sees the same; much output is begun by the screen as it is.
    much = "".join(f"row {number}\r\n" for number in range(150_000))
    at = len(text)
    pieces = [written(at + start, much[start : start + 16_384]) for start in range(0, len(much), 16_384)]
    await publish(driven, *pieces)
    await publish(driven, {"type": "task_completed", **task, "data": {"exit_code": 0}})
    await go(tab, f"{url}/tasks/wide")
    await shows(tab, "row 149999", ".tty")
    assert await tab.evaluate("document.querySelectorAll('.xterm-rows > div').length") == 10
    await tab.screenshot("console-terminal")
    await tab.click("main p.soft button")
    await shows(tab, "row 149999", ".tty")
    await held_within(tab, f"{len(much)} bytes of a terminal")
    # On a phone the letters are smaller, and what does not fit is scrolled within the terminal.
    await sized(tab, 360, "dark")
    await until(lambda: tab.evaluate("document.documentElement.scrollWidth <= 360"), what="a page that fits")
    await tab.screenshot("console-terminal-360")
    await sized(tab, 1200)


async def test_by_keys_alone(driven: Driven, tab: Tab, url: str) -> None:
    await publish(driven, {"type": "task_started", "task_id": "by-keys", "user_id": "ann"})
    await go(tab, f"{url}/cluster")
    await shows(tab, "Consumers", "main")
    await press(tab, "g", "t")
    await shows(tab, "by-keys", "main .list")
    await press(tab, "?")
    await shows(tab, "Go to History", "dialog[open]")
    await tab.screenshot("console-keys")
    await press(tab, "Escape")
    await until(lambda: tab.evaluate("document.querySelector('dialog') === null"), what="the list of keys closed")
    await press(tab, "/")
    assert await tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Search"
    await tab.call("Input.insertText", text="by-keys")
    await until(lambda: tab.evaluate("document.querySelectorAll('main .list li').length === 1"), what="the search")
    await press(tab, "Escape", "j")
    assert await tab.evaluate("document.activeElement.innerText.includes('by-keys')")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await tab.evaluate(outline) == "solid", "what has the focus is to be seen"
    await press(tab, "Enter")
    await shows(tab, "by-keys", "main h1")


async def test_a_question_is_answered(driven: Driven, tab: Tab, url: str) -> None:
    for width, task, button, says in (
        (1200, "asks-1", ".question button.primary", "ran ls -a"),
        (360, "asks-2", ".question button:not(.primary)", "The user does not allow this."),
    ):
        await sized(tab, width)
        command = (sys.executable, STAND_IN, "-p", "look around")
        run = await driven.start_run(task, *command, adapter="claude")
        await go(tab, f"{url}/tasks/{task}")
        await shows(tab, "List files", ".question")
        await shows(tab, "ls -a", ".question pre")
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
        await tab.screenshot(f"console-question-{width}")
        await tab.click(button)
        assert await ended(run) == 0
        await shows(tab, says, "[role=log]")
        await shows(tab, "completed", ".title")
        assert await tab.evaluate("document.querySelector('.question')") is None
    await sized(tab, 1200)


async def test_records_that_nobody_can_use(driven: Driven, tab: Tab, url: str) -> None:
    instance = driven.up.instance
    async with AIOKafkaProducer(bootstrap_servers=instance["kafka"]) as producer:
        for number in range(25):
            value = UNUSABLE_VALUE + str(number).encode()
            await producer.send_and_wait(
                instance["topic"], value, headers=[*unusable_headers(["task:bad"])], partition=0
            )
    connection = await asyncpg.connect(instance["database_url"])
    try:

        async def copied() -> bool:
            return bool(await connection.fetchval("SELECT count(*) >= 25 FROM quarantine WHERE channels = 'task:bad'"))

        # A page that is shown before has its next one below what was there then.
        await until(copied, timeout=WITHIN, what="all of them being in the quarantine")
    finally:
        await connection.close()
    rows = "document.querySelectorAll('main summary').length"
    await go(tab, f"{url}/quarantine")
    await until(lambda: tab.evaluate(f"{rows} === 20"), timeout=WITHIN, what="a page of them")
    await tab.click("main summary")
    await shows(tab, "task:bad", "main details[open]")
    await shows(tab, '{"data":"', "main details[open] pre")
    await tab.screenshot("console-quarantined")
    await tab.click("main .line button:last-child")
    await until(lambda: tab.evaluate(f"{rows} >= 5 && {rows} < 20"), timeout=WITHIN, what="the rest of them")
    await tab.click("main .line button:first-child")
    await until(lambda: tab.evaluate(f"{rows} === 20"), timeout=WITHIN, what="the first page again")


async def test_more_projects_than_a_page_and_a_feed_take(driven: Driven, tab: Tab, url: str) -> None:
    names = [f"many-{number:03}" for number in range(PROJECTS)]
    await publish(
        driven, *({"type": "project_created", "project_id": name, "data": {"owner_id": "ann"}} for name in names)
    )
    await go(tab, f"{url}/projects")
    seen: list[str] = []
    shown = "[...document.querySelectorAll('main .list b')].map((one) => one.innerText)"
    is_last = "document.querySelector('main .turning button:last-child').disabled"
    while True:
        page = await until(partial(another, tab, shown, seen), timeout=WITHIN, what="another page of projects")
        assert page is not None
        seen += page
        if await tab.evaluate(is_last):
            break
        await tab.click("main .turning button:last-child")
    assert set(names) <= set(seen)
    assert len(set(seen)) == len(seen)
    # The feed says that it does not follow all of them, and follows what is named.
    await go(tab, f"{url}/feed")
    await shows(tab, "more projects than are followed here", "main")
    await tab.evaluate("document.querySelector('input[aria-label=Channel]').focus()")
    await tab.call("Input.insertText", text=f"project:{names[-1]}")
    await tab.evaluate("document.activeElement.form.requestSubmit()")
    await shows(tab, "project_created", "main .list")
    await publish(driven, {"type": "project_updated", "project_id": names[-1], "data": {"name": "The last"}})
    await shows(tab, "The last", "main .list")
    # Its past: without the name, and with it.
    await go(tab, f"{url}/history?channel=project:{names[-1]}")
    await shows(tab, "The last had ann (owner)", ".then")


async def another(tab: Tab, expression: str, seen: list[str]) -> list[str] | None:
    """What it gives, once that is not what was seen already."""
    page: list[str] = await tab.evaluate(expression)
    return page if page and page[0] not in seen else None


async def test_a_first_view_is_small_and_soon_there(driven: Driven, tab: Tab, url: str) -> None:
    await tab.call("Network.setCacheDisabled", cacheDisabled=True)
    await go(tab, f"{url}/tasks")
    await shows(tab, "Tasks", "main h1")
    loaded = json.loads(
        await tab.evaluate(
            "JSON.stringify(performance.getEntriesByType('resource').filter(({name}) => !name.includes('/api/'))"
            ".map(({transferSize}) => transferSize))"
        )
    )
    usable = await tab.evaluate("Math.round(window.usableAt)")
    await tab.call("Network.setCacheDisabled", cacheDisabled=False)
    print(f"first view: {sum(loaded)} bytes in {len(loaded)} files, usable after {usable} ms")
    assert 0 < sum(loaded) < 200_000
