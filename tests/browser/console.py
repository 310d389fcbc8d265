"""The console in a browser of its own, signed in, and what is to be seen there."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.browser.chromium import browsing, find_chromium
from tests.browser.devtools import Tab, tab_of
from tests.driven import Driven
from tests.up_process import lastseen
from tests.waiting import until

NOTICE = """
window.problems = [];
const note = (what) => window.problems.push(String(what));
addEventListener("securitypolicyviolation", (e) => note("CSP " + e.violatedDirective + " " + e.sourceFile));
addEventListener("error", (e) => note(e.message));
addEventListener("unhandledrejection", (e) => note(e.reason));
const told = console.error;
console.error = (...all) => { note(all.join(" ")); told(...all); };
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) { window.sent.push(JSON.parse(text)); send.call(this, text); };
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.longTasks.push(Math.round(duration));
}).observe({ type: "longtask", buffered: true });
new MutationObserver((_, observer) => {
  if (!document.querySelector("main h1")) return;
  window.usableAt = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
"""Before any script of a page: what a developer would see in red, what it sends, and how soon it answers."""
WITHIN = 60.0
"""Seconds: how long a page may take on a slow machine."""


@asynccontextmanager
async def console_tab(folder: Path) -> AsyncIterator[Tab]:
    """A browser with an empty tab. Skips where there is none."""
    find_chromium()
    async with browsing("about:blank", folder / "profile"), tab_of(folder / "profile") as tab:
        await tab.call("Page.enable")
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=NOTICE)
        yield tab


async def sign_in_link(driven: Driven) -> str:
    """What `lastseen console` prints."""
    status, out, err = await lastseen("console", "--data-dir", str(driven.up.data_dir))
    assert status == 0, err
    return next(word for word in (out + err).split() if "#code=" in word)


async def go(tab: Tab, url: str) -> None:
    """Load an address."""
    await tab.call("Page.navigate", url=url)


async def shows(tab: Tab, text: str, within: str = "body") -> None:
    """Wait until the page has this text."""
    found = f"document.querySelector({json.dumps(within)})?.innerText.includes({json.dumps(text)}) ?? false"
    await until(lambda: tab.evaluate(found), timeout=WITHIN, what=f"{text!r} in {within}")


async def problems(tab: Tab) -> list[str]:
    """What went wrong in the page since it was loaded."""
    found: list[str] = await tab.evaluate("window.problems ?? []")
    return found


async def sized(tab: Tab, width: int, scheme: str = "light", height: int = 800) -> None:
    """As a screen of that width shows it, by day (`light`) or at night (`dark`)."""
    await tab.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
    )
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


async def shown_lines(tab: Tab) -> list[str]:
    """The lines of the output that are in the page."""
    lines: list[str] = await tab.evaluate(
        "[...document.querySelectorAll('[role=log] .row')].map((row) => row.innerText.trimEnd())"
    )
    return lines


async def press(tab: Tab, *keys: str) -> None:
    """Press and release keys, as somebody at a keyboard does."""
    for key in keys:
        code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0)
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        await tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        await tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


async def typed(tab: Tab, text: str) -> None:
    """Type a line into the task's input."""
    await tab.type("form.line input", text)
    await tab.click("form.line button[type=submit]")
