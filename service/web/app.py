"""The application: routes over a node."""

from typing import Any

from fastapi import FastAPI
from lastseen.envelope import Event

from service.node.node import Node
from service.ports import Authenticator
from service.web import events, health, problems, socket


def create_app(node: Node, authenticator: Authenticator) -> FastAPI:
    """The ASGI application that serves `node`."""
    app = FastAPI(title="Lastseen", version="1", docs_url=None, redoc_url=None)
    _describe_events(app)
    app.state.node = node
    app.state.authenticator = authenticator
    problems.install(app)
    app.include_router(health.router)
    app.include_router(events.router)
    app.include_router(socket.router)
    return app


def _describe_events(app: FastAPI) -> None:
    """Put the event's schema into the OpenAPI document: its route reads the body itself."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Event" not in schemas:
            schema = Event.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas["Event"] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]
