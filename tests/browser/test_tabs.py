"""Two tabs of a real browser share one connection, and the one that holds it is closed in the middle of a task."""

import sys
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from websockets.asyncio.client import connect

from tests.browser.chromium import browsing, find_chromium, serving
from tests.browser.devtools import Tab
from tests.browser.test_follow import PROGRAM, WANTED
from tests.driven import Driven, ended
from tests.javascript.node import Package
from tests.waiting import until

HTML = Path(__file__).with_name("tabs.html").read_bytes()
ENOUGH = 10_000


async def test_the_tabs_of_a_browser_share_one_connection(driven: Driven, built: Package, tmp_path: Path) -> None:
    find_chromium()
    await driven.until_well()
    token = await driven.token("--user", "ann", "--project", "shop")
    fragment = urlencode({"url": driven.up.instance["url"], "token": token, "task": "seen-in-tabs"})
    goes_on = tmp_path / "goes-on"
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(serving(HTML, built.folder / "dist"))
        program = await driven.start_run("seen-in-tabs", sys.executable, "-c", PROGRAM, str(goes_on), project="shop")
        address = f"{page.url}#{fragment}"
        await stack.enter_async_context(browsing(address, tmp_path / "profile"))
        browser = Browser(await port_of(tmp_path / "profile"))
        await browser.open(address)
        tabs: dict[str, Tab] = {}
        for name in await browser.tabs(2):
            tabs[name] = await stack.enter_async_context(browser.attached(name))
        await until(lambda: all_show(tabs.values(), ENOUGH), timeout=60, what="output in both tabs")
        leading = [name for name, tab in tabs.items() if (await seen(tab))["leads"]]
        assert len(leading) == 1, "one of them is connected"
        (tab,) = (tab for name, tab in tabs.items() if name != leading[0])
        before = (await seen(tab))["connections"]
        await browser.close(leading[0])
        goes_on.touch()
        assert await ended(program) == 0

        async def is_all() -> bool:
            return bool((await seen(tab))["ended"])

        await until(is_all, timeout=60, what="the end of the task in the other tab")
        last = await seen(tab)
        text = await tab.evaluate("document.querySelector('#output').textContent")
    assert (text == WANTED) is True
    assert last["handled"] == last["shown"] == len(WANTED.encode())
    assert last["leads"]
    assert last["connections"] == before + 1
    assert last["gaps"] == 0


async def seen(tab: Tab) -> dict[str, Any]:
    """What the page in the tab counts."""
    counted: dict[str, Any] = await tab.evaluate("globalThis.seen?.() ?? {shown: 0}")
    return counted


async def all_show(tabs: Collection[Tab], many: int) -> bool:
    """Whether each of the tabs shows so much."""
    return all([(await seen(tab))["shown"] > many for tab in tabs])


async def port_of(profile: Path) -> str:
    """Where the browser with this profile is driven."""
    told = profile / "DevToolsActivePort"
    await until(lambda: told.exists() and told.read_text().count("\n") > 0, timeout=60, what="the browser's port")
    return told.read_text().split("\n")[0]


class Browser:
    """The tabs of a browser, by the names that it gives them."""

    def __init__(self, port: str) -> None:
        self._url = f"http://127.0.0.1:{port}/json"

    async def open(self, address: str) -> None:
        """One more tab."""
        await self._asked("PUT", f"new?{quote(address, safe='')}")

    async def close(self, name: str) -> None:
        """End a tab as its user does."""
        await self._asked("GET", f"close/{name}")

    async def tabs(self, count: int) -> list[str]:
        """The names of the tabs, once there are so many."""

        async def named() -> list[str] | None:
            targets = (await self._asked("GET", "list")).json()
            names = [one["id"] for one in targets if one["type"] == "page"]
            return names if len(names) == count else None

        names = await until(named, timeout=60, what=f"{count} tabs")
        assert names is not None
        return names

    @asynccontextmanager
    async def attached(self, name: str) -> AsyncIterator[Tab]:
        """A tab to drive."""
        address = f"{self._url.replace('http', 'ws').removesuffix('/json')}/devtools/page/{name}"
        async with connect(address, max_size=None, proxy=None, ping_interval=None) as socket:
            yield Tab(socket)

    async def _asked(self, method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.request(method, f"{self._url}/{path}")).raise_for_status()
