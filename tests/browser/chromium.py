"""A headless Chromium that opens a page of ours, and the small server that the page comes from and answers to."""

import asyncio
import mimetypes
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")


def find_chromium() -> str:
    """The browser's program. Skips the test where there is none, and fails it where CI=true."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing = f"no browser is installed: none of {', '.join(NAMES)} is on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@dataclass
class Page:
    """One page, and what it has posted: path → the last query and body."""

    html: bytes
    folder: Path | None = None
    """With what else the page loads."""
    posted: dict[str, tuple[dict[str, list[str]], str]] = field(default_factory=dict)
    url: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split(" ", 2)
                length = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
                body = await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                answer, kind = b"", "text/html; charset=utf-8"
                parts = urlsplit(target)
                if method == "POST":
                    self.posted[parts.path] = (parse_qs(parts.query), body.decode())
                elif parts.path == "/":
                    answer = self.html
                elif self.folder is not None and (file := self.folder / parts.path.removeprefix("/")).is_file():
                    answer, kind = file.read_bytes(), mimetypes.guess_type(file.name)[0] or kind
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
                    % (kind.encode(), len(answer), answer)
                )
                await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(html: bytes, folder: Path | None = None) -> AsyncIterator[Page]:
    """Serves the page at a port of its own; what else it loads is in the folder."""
    page = Page(html, folder)
    server = await asyncio.start_server(page.handle, "127.0.0.1", 0, limit=1024 * 1024)
    page.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield page
    finally:
        server.close()


@asynccontextmanager
async def browsing(url: str, profile: Path) -> AsyncIterator[None]:
    """A browser at `url`, in a session of its own that ends with the block."""
    with (profile.parent / "chromium.log").open("wb") as log:
        browser = await asyncio.create_subprocess_exec(
            find_chromium(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            url,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()
