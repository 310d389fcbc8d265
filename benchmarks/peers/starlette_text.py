"""Starlette: `send_text` to one WebSocket after the other."""

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from benchmarks.peers.served import WELCOME, serve

_subscribers: set[WebSocket] = set()


async def _subscribe(websocket: WebSocket) -> None:
    await websocket.accept()
    _subscribers.add(websocket)
    try:
        await websocket.send_text(WELCOME)
        async for _ in websocket.iter_text():
            pass
    finally:
        _subscribers.discard(websocket)


async def _tick(texts: list[str]) -> None:
    for text in texts:
        for websocket in tuple(_subscribers):
            await websocket.send_text(text)


if __name__ == "__main__":
    serve(Starlette(routes=[WebSocketRoute("/ws", _subscribe)]), _tick)
