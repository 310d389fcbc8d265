"""python-socketio: `emit` to a room, whose members are connected by WebSocket from the start."""

import json
from typing import Any

import socketio

from benchmarks.peers.served import serve

_ROOM = "events"
_NEVER_SECONDS = 3600

_server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], ping_interval=_NEVER_SECONDS)


async def _connect(sid: str, _environ: dict[str, Any]) -> None:
    await _server.enter_room(sid, _ROOM)


async def _tick(texts: list[str]) -> None:
    for text in texts:
        await _server.emit("event", json.loads(text), room=_ROOM)


if __name__ == "__main__":
    _server.on("connect", _connect)
    serve(socketio.ASGIApp(_server), _tick)
