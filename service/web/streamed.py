"""An answer in pieces that takes long, whose client may leave at any time."""

import asyncio

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Streamed(StreamingResponse):
    """Sends while it listens for the client's leaving; then what makes the pieces is cancelled.

    Runs nothing in the background behind it. Starlette's own way leaves an exception that refers to itself behind each
    client that leaves, and with it the stream and the transport: all of it would wait for the garbage collector.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a server calls it."""
        tasks = [
            asyncio.create_task(self.stream_response(send)),
            asyncio.create_task(self.listen_for_disconnect(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        try:
            for task in tasks:
                if not task.cancelled():
                    task.result()
        finally:
            # Of an exception this frame is a part: it must not have the exception.
            del task, tasks
