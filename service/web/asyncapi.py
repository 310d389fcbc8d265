"""`/asyncapi.json`: the socket, described for machines (AsyncAPI 3.0)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from lastseen import close_codes
from lastseen.channels import ID_PATTERN

from service.domain.protocol import SUBPROTOCOL
from service.web.documented import POSITION, documented
from service.web.message_schemas import CLIENT_MESSAGES, EVENT, SERVER_MESSAGES, Schema

router = APIRouter()

_QUERY: Final[Schema] = {
    "type": "object",
    "properties": {
        "project_id": {"type": "string", "description": "Subscribes to the project's channel too."},
        "after": {**POSITION, "description": "The automatic subscriptions catch up from there."},
        "client_id": {"type": "string", "pattern": ID_PATTERN, "description": "Names a durable cursor of the user."},
        "ticket": {"type": "string", "description": "Instead of a token: from POST /api/v1/websocket/ticket, once."},
        "token": {"type": "string", "description": "The access token, for who can't send headers or subprotocols."},
    },
}
_DESCRIPTION: Final = f"""Events of a log, live and replayed, over one WebSocket.

The access token (a JWT) is given by the subprotocols `{SUBPROTOCOL}, bearer.TOKEN`, of which the server chooses the
first, or by `Authorization: Bearer`, or by the query. The server accepts first and closes then, so that a browser
sees the code. An event is told from all other messages by its `offset`."""
_SOCKET: Final = {"$ref": "#/channels/socket"}
_SECURITY: Final = {"$ref": "#/components/securitySchemes/bearer"}


def asyncapi(host: str, scheme: str = "ws") -> dict[str, Any]:
    """The document of a node that is reached at `host`."""
    messages = {
        "server.event": _component("event", "Something that happened, with its place in the log.", EVENT),
        **{f"server.{name}": _component(name, one.summary, one.schema) for name, one in SERVER_MESSAGES.items()},
        **{f"client.{name}": _component(name, one.summary, one.schema) for name, one in CLIENT_MESSAGES.items()},
    }
    answers = {answer for asked in CLIENT_MESSAGES.values() for answer in asked.answers}
    unasked = [name for name in SERVER_MESSAGES if name not in answers]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Lastseen", "version": "1", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"node": {"host": host, "protocol": scheme, "security": [_SECURITY]}},
        "channels": {
            "socket": {
                "address": "/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _QUERY, "bindingVersion": "0.1.0"}},
                "x-close-codes": _close_codes(),
            }
        },
        "operations": {
            **{
                name: {
                    "action": "receive",
                    "channel": _SOCKET,
                    "summary": asked.summary,
                    "messages": _of_socket([f"client.{name}"]),
                    **_reply(asked.answers),
                }
                for name, asked in CLIENT_MESSAGES.items()
            },
            "tell": {
                "action": "send",
                "channel": _SOCKET,
                "summary": "What the server says of its own accord, and the errors of messages that have no type.",
                "messages": _of_socket([f"server.{name}" for name in ("event", *unasked, "error")]),
            },
        },
        "components": {
            "messages": messages,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _component(name: str, summary: str, schema: Schema) -> Mapping[str, Any]:
    return {"name": name, "title": name, "summary": summary, "payload": schema}


def _reply(answers: Sequence[str]) -> Mapping[str, Any]:
    if not answers:
        return {}
    return {"reply": {"channel": _SOCKET, "messages": _of_socket([f"server.{name}" for name in answers])}}


def _of_socket(names: Sequence[str]) -> list[Mapping[str, str]]:
    return [{"$ref": f"#/channels/socket/messages/{name}"} for name in names]


def _close_codes() -> list[Mapping[str, object]]:
    """The codes with which a connection ends, and when a client comes back."""
    return [
        {"code": code, "meaning": row.meaning, "come_back": row.back.value}
        for code, row in close_codes.CLOSE_CODES.items()
    ]


@router.get(
    "/asyncapi.json",
    summary="Describe the socket",
    description="The messages of the WebSocket at /ws, as an AsyncAPI 3.0 document.",
    response_model=None,
    **documented(is_open=True, schema={"type": "object"}, example={"asyncapi": "3.0.0"}, description="AsyncAPI 3.0"),
)
async def describe_socket(request: Request) -> JSONResponse:
    """The document of this node."""
    scheme = "wss" if request.url.scheme == "https" else "ws"
    return JSONResponse(asyncapi(request.url.netloc, scheme))
