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
    """The window is loaded and the tail reads. Before that nothing listens at all."""
    services = request.app.state.node.services
    return JSONResponse({"status": "ready", "node": services.settings.instance_id, "position": services.head.token})
