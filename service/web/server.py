"""The HTTP server: uvicorn, which says goodbye to WebSocket clients in our words before it shuts down."""

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """Runs `drain` before uvicorn closes its sockets: it would close them with 1012 and no reason."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye, then shut down."""
        self._drain()
        await super().shutdown(sockets)


def create_server(app: FastAPI, host: str, port: int, *, max_message_bytes: int, drain: Callable[[], None]) -> Server:
    """A server of `app`; `serve()` runs it until SIGINT or SIGTERM."""
    return Server(
        uvicorn.Config(
            app,
            host,
            port,
            ws="websockets-sansio",
            ws_max_size=max_message_bytes,
            # Compression costs 300 KiB a socket; our own pings say more and don't end slow readers.
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            # It would write tokens from the query into the log.
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=3,
            backlog=4096,
        ),
        drain,
    )
