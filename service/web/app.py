"""The application: routes over a node."""

from fastapi import FastAPI

from service.gc_pauses import GcPauses
from service.node.node import Node
from service.web import (
    asyncapi,
    cluster,
    command_stream,
    console,
    console_session,
    cursors,
    event_stream,
    events,
    health,
    history,
    listing,
    metrics,
    problems,
    quarantine,
    sending,
    socket,
    states,
    stats,
    task_commands,
    tasks,
    tickets,
)
from service.web.documented import describe
from service.web.door import Door
from service.web.foreign_pages import ForeignPages


def create_app(node: Node, door: Door, pauses: GcPauses | None = None) -> FastAPI:
    """The ASGI application that serves `node` to whom `door` lets in; `pauses` are among its metrics."""
    app = FastAPI(title="Lastseen", version="1", docs_url=None, redoc_url=None)
    describe(app)
    app.state.node = node
    app.state.door = door
    app.state.metrics = metrics.registry_of(node, pauses)
    app.add_middleware(ForeignPages, paths=[event_stream.PATH], origins=door.origins)
    problems.install(app)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(asyncapi.router)
    app.include_router(events.router)
    app.include_router(history.router)
    app.include_router(event_stream.router)
    app.include_router(states.router)
    app.include_router(tasks.router)
    app.include_router(task_commands.router)
    app.include_router(command_stream.router)
    app.include_router(cursors.router)
    app.include_router(tickets.router)
    app.include_router(console_session.router)
    app.include_router(stats.router)
    app.include_router(listing.router)
    app.include_router(cluster.router)
    app.include_router(quarantine.router)
    app.include_router(sending.router)
    app.include_router(socket.router)
    console.install(app)
    return app
