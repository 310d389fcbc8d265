"""`/healthz` and `/readyz`: whether this process lives, and whether it serves."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service.web.documented import POSITION, documented

router = APIRouter()


_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
_READY = {
    "type": "object",
    "required": ["status", "node", "position"],
    "properties": {"status": {"type": "string"}, "node": {"type": "string"}, "position": POSITION},
}


@router.get(
    "/healthz",
    summary="Whether the process lives",
    **documented(is_open=True, schema=_STATUS, example={"status": "ok"}, description="It does"),
)
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether the node serves",
    **documented(
        is_open=True,
        schema=_READY,
        example={"status": "ready", "node": "node-1", "position": "k3f9:0=1523,1=88"},
        description="It does",
    ),
)
async def readyz(request: Request) -> JSONResponse:
    """The window is loaded and the tail reads. Before that nothing listens at all."""
    services = request.app.state.node.services
    return JSONResponse({"status": "ready", "node": services.settings.instance_id, "position": services.head.token})
