"""Where a client is, by the word of the proxies that are trusted."""

from collections.abc import Collection
from typing import Any, cast

from starlette.datastructures import Address, Headers
from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class TrustedProxies:
    """Reads `X-Forwarded-For` for conversations that pass by the application, as uvicorn does for all others."""

    def __init__(self, proxies: Collection[str]) -> None:
        self._believing = ProxyHeadersMiddleware(cast(ASGI3Application, _nothing), list(proxies))

    async def client_of(self, client: Address | None, headers: Headers) -> Address | None:
        """Where the client is whose connection comes from `client`."""
        scope: Any = {"type": "websocket", "scheme": "ws", "client": client, "headers": headers.raw}
        await self._believing(scope, cast(Any, None), cast(Any, None))
        found = scope["client"]
        return None if found is None else Address(*found)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """It is only asked what it would have been told."""
