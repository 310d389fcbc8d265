"""`/healthz` and `/readyz`: whether this process lives, and whether it serves."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """The window is loaded and the tail reads; 503 until then and while draining."""
    node = getattr(request.app.state, "node", None)
    if node is None:
        return JSONResponse({"status": "starting"}, 503)
    services = node.services
    return JSONResponse({"status": "ready", "node": services.settings.instance_id, "position": services.head.token})
