"""The console at `/`: pages that were built into the package, read once, and served from memory.

They are asked for where no route fits, so that they hide none. Where the package was built without them, `/` says so.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PAGES: Final = Path(__file__).with_name("console_files")
"""Where the build puts them; see `hatch_build.py`."""
INDEX: Final = "index.html"
HASHED: Final = "assets/"
"""What lies there has a digest in its name, so whatever has that name is that very file."""
_SERVICE: Final = ("api", "ws", "metrics", "healthz", "readyz", "openapi.json", "asyncapi.json")
"""First parts of paths that are the service's own, those that it does not have included."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MISSING: Final = (
    "This is Lastseen, whose console was left out when it was built: "
    "`uv sync --reinstall-package lastseen-service` builds it. What else it answers, /openapi.json says.\n"
)


_KINDS: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""Our own table: what Python knows differs from machine to machine."""


class Form(NamedTuple):
    """A file's bytes, plain or compressed, and the tag of just these."""

    content: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Page:
    """One file, as it is and as gzip has it, where that is shorter."""

    plain: Form
    zipped: Form | None
    headers: Mapping[str, str]

    def response(self, asked: Headers) -> Response:
        """What to answer to a request with these headers; the body of a HEAD is left out by the server."""
        zipped = self.zipped if _takes_gzip(asked) else None
        form = zipped or self.plain
        headers = {**self.headers, **SECURITY, "ETag": form.tag}
        if _has(asked, form.tag):
            return Response(None, 304, headers)
        if zipped is not None:
            headers["Content-Encoding"] = "gzip"
        return Response(form.content, 200, headers)


def read_pages(folder: Path) -> dict[str, Page]:
    """The pages of a folder, by their paths below it; none where there is no such folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): _page(folder, path) for path in files if path.suffix != ".gz"}


def _page(folder: Path, path: Path) -> Page:
    zipped = path.with_name(f"{path.name}.gz")
    forever = path.relative_to(folder).as_posix().startswith(HASHED)
    return Page(
        _form(path),
        _form(zipped) if zipped.is_file() else None,
        {
            "Content-Type": _KINDS.get(path.suffix, "application/octet-stream"),
            "Cache-Control": "public, max-age=31536000, immutable" if forever else "no-store",
            "Vary": "Accept-Encoding",
        },
    )


def _form(path: Path) -> Form:
    content = path.read_bytes()
    return Form(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class Console:
    """Answers a GET or HEAD that no route of the service has taken; `otherwise` is asked about everything else.

    An address that a browser was told to open, and that is no file's, is one of the console's own.
    """

    def __init__(self, pages: Mapping[str, Page], otherwise: ASGIApp) -> None:
        self._pages = pages
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer(scope) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        await (answer or self._otherwise)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        path = scope["path"].lstrip("/")
        asked = Headers(scope=scope)
        page = self._pages.get(path or INDEX)
        if page is None and INDEX in self._pages and _is_place(path) and _is_opened(asked):
            page = self._pages[INDEX]
        if page is not None:
            return page.response(asked)
        return None if path else PlainTextResponse(_MISSING, 404, SECURITY)


def install(app: FastAPI, folder: Path = PAGES) -> None:
    """Let `app` answer with the pages of `folder` what it has no route for."""
    app.router.default = Console(read_pages(folder), app.router.default)


def _is_place(path: str) -> bool:
    """Whether it may be a place in the console: neither the service's nor a file's that is gone."""
    return path.split("/", 1)[0] not in _SERVICE and not path.startswith(HASHED)


def _is_opened(asked: Headers) -> bool:
    return "text/html" in asked.get("accept", "")


def _takes_gzip(asked: Headers) -> bool:
    codings = [one.replace(" ", "").lower().split(";") for one in asked.get("accept-encoding", "").split(",")]
    return any(name in ("gzip", "*") and not any(_is_zero(one) for one in more) for name, *more in codings)


def _is_zero(parameter: str) -> bool:
    return parameter.startswith("q=0") and not parameter.removeprefix("q=0").strip(".0")


def _has(asked: Headers, tag: str) -> bool:
    given = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    return tag in given or "*" in given
