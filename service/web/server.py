"""The HTTP server: uvicorn, which says goodbye to WebSocket clients in our words before it shuts down."""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from service.addresses import is_loopback
from service.web.host import Host
from service.web.hosts import HostCheck
from service.web.listening import BACKLOG, listening
from service.web.reception import ShortWay, reception
from service.web.transport import WebSocketTransport
from service.web.trusted_proxies import TrustedProxies

Drain = Callable[[], Awaitable[None]]


class Server(uvicorn.Server):
    """Runs `drain` before uvicorn closes its sockets (with 1012 and no reason), and ends when all of it has."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        self._exit = asyncio.Event()
        super().__init__(config)
        self._drain = drain

    @property
    def should_exit(self) -> bool:
        """Whether it is to end; set it to let it."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._exit.set()
        else:
            self._exit.clear()

    async def main_loop(self) -> None:
        """Wait until it is to end.

        uvicorn looks ten times a second, and keeps the time for a header that is not sent.
        """
        self.server_state.default_headers = self.config.encoded_headers
        await self._exit.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order on SIGINT or SIGTERM, and let the process go on to its own end.

        uvicorn's own way raises the signal once more behind that, which would cut the rest off.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these sockets, or else where the configuration says. Raises LastseenError where that can't be."""
        if sockets is not None:
            await super().serve(sockets)
            return
        with listening(self.config.host, self.config.port) as made:
            await super().serve(list(made))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more clients, say goodbye to those there are, then shut down."""
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets)


def create_server(
    app: FastAPI,
    host: str,
    port: int,
    *,
    max_message_bytes: int,
    drain: Drain,
    allowed_hosts: Collection[str] = (),
    trusted_proxies: Collection[str] = (),
    head_seconds: float = 10.0,
    sockets: Host | None = None,
    in_turn: Callable[[Callable[[], None]], None] | None = None,
) -> Server:
    """A server of `app`; `serve()` runs it until SIGINT or SIGTERM. `drain` sends its WebSocket clients away.

    `Host` is checked on loopback, and everywhere once `allowed_hosts` names some; `X-Forwarded-For` counts only from
    `trusted_proxies`. The head of a request has to come within `head_seconds`. `sockets`, if it is given,
    carries those conversations whose hand-shake is plain, each begun by `in_turn` or else at once; `app` is asked about
    all others.
    """
    hosts = HostCheck(app, allowed_hosts) if allowed_hosts or is_loopback(host) else None
    short_way = None
    if sockets is not None:
        if trusted_proxies:
            sockets = sockets._replace(client_of=TrustedProxies(trusted_proxies).client_of)
        short_way = ShortWay(
            sockets, hosts.takes if hosts is not None else lambda _: True, in_turn or (lambda begin: begin())
        )
    # At INFO it writes the address of each WebSocket, and with it tokens from the query.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return Server(
        uvicorn.Config(
            app if hosts is None else hosts,
            host,
            port,
            http=reception(head_seconds, short_way),
            ws=WebSocketTransport,
            ws_max_size=max_message_bytes,
            # Compression costs 300 KiB a socket; our own pings say more and don't end slow readers.
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            access_log=False,  # as above
            # Its own default believes whoever comes over loopback.
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
            backlog=BACKLOG,
        ),
        drain,
    )
