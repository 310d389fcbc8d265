"""What pages of other origins may read: a WebSocket they may open anyway, an event stream only if it says so."""

from collections.abc import Collection
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_HEADERS: Final = ("Authorization", "Last-Event-ID")


class ForeignPages:
    """Lets pages read `paths`: those of `origins`, or any where there are none. No cookie is ever asked for."""

    def __init__(self, app: ASGIApp, paths: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._shared = CORSMiddleware(app, allow_origins=sorted(origins) or ("*",), allow_headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_shared = scope["type"] == "http" and scope["path"] in self._paths
        await (self._shared if is_shared else self._app)(scope, receive, send)
