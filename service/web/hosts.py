"""The check of `Host`: by a name that it has pointed here, a foreign page could talk to a node that only we reach."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.addresses import host_name, is_loopback
from service.domain.errors import BadRequest
from service.web.problems import Problem

_OPEN: Final = frozenset({"/healthz", "/readyz"})
"""Asked by whoever watches the node, by whatever address he knows; they give nothing away."""

_KNOWN: Final = 64
"""Names that were called, each judged once."""


class HostCheck:
    """Takes requests whose `Host` is a loopback name or address, or among `allowed`; others get a 421.

    So does the hand-shake of a WebSocket: such a page need not be told more.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._is_ours = lru_cache(_KNOWN)(self._is_our_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in _OPEN or self.takes(scope["headers"]):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            421,
            "this node is not called by the name in Host: LASTSEEN_ALLOWED_HOSTS names those that it takes",
            code="misdirected_request",
            # Its body is not read.
            headers={"Connection": "close"},
        )
        await problem.response()(scope, receive, send)

    def takes(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether these headers, with names in lower case, call the node as it may be called."""
        hosts = [value for name, value in headers if name == b"host"]
        return len(hosts) == 1 and self._is_ours(hosts[0])

    def _is_our_name(self, value: bytes) -> bool:
        host = _without_port(value.decode("latin-1"))
        try:
            return is_loopback(host) or host_name(host) in self._allowed
        except BadRequest:
            return False


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isascii() and port.isdigit() and not name.endswith(":") else host
