"""A tab of the browser, driven over its own protocol (CDP)."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.waiting import until

SCREENSHOTS = Path(__file__).parents[2] / ".dev" / "screenshots"


class Tab:
    """One tab; one call at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """A method of the protocol; its result. Raises AssertionError where it is refused."""
        wanted = next(self._ids)
        await self._socket.send(json.dumps({"id": wanted, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.recv())
            if message.get("id") == wanted:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page. Raises AssertionError with what it throws."""
        said = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def click(self, selector: str) -> None:
        """Click an element, as soon as it may be clicked."""
        quoted = json.dumps(selector)
        await until(
            lambda: self.evaluate(
                f"(one => Boolean(one && !one.disabled && (one.click(), true)))(document.querySelector({quoted}))"
            ),
            what=f"{selector} to click",
        )

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def offline(self, is_offline: bool) -> None:
        """Take the network from the page, or give it back."""
        await self.call(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    async def screenshot(self, name: str) -> None:
        """Keep what it looks like as `.dev/screenshots/NAME.png`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        shot = await self.call("Page.captureScreenshot", format="png")
        (SCREENSHOTS / f"{name}.png").write_bytes(b64decode(shot["data"]))


@asynccontextmanager
async def tab_of(profile: Path) -> AsyncIterator[Tab]:
    """The one tab of the browser that runs with this profile."""
    told = profile / "DevToolsActivePort"
    await until(lambda: told.exists() and told.read_text().count("\n") > 0, timeout=60, what="the browser's port")
    port = told.read_text().split("\n")[0]

    async def address() -> str | None:
        async with httpx.AsyncClient(trust_env=False) as http:
            targets = (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
        return next((one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page"), None)

    url = await until(address, timeout=60, what="a tab")
    assert url is not None
    async with connect(url, max_size=None, proxy=None, ping_interval=None) as socket:
        tab = Tab(socket)
        await tab.call("Network.enable")
        yield tab
