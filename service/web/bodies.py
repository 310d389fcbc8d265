"""Reading the body of a request: bounded, and as JSON."""

from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from service.web.problems import Problem


async def read_json(request: Request, limit: int, *, may_be_empty: bool = False) -> Any:
    """What the body says, of at most `limit` bytes; one that may be empty says {}. Raises Problem 400 or 413."""
    try:
        body = await _read(request, limit)
    except ClientDisconnect as error:
        # There is nobody left to hear it, and nothing that failed here.
        raise Problem(400, "the body broke off in the middle", code="invalid_json") from error
    if may_be_empty and not body:
        return {}
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"the body is no JSON: {error}", code="invalid_json") from error


async def _read(request: Request, limit: int) -> bytes:
    """The body. One over the limit is not kept, and read to its end only if that comes soon.

    A client that is cut off while it sends does not see the answer; one that would send for ever has to be.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            body += chunk
        elif size <= 2 * limit:
            body.clear()
        else:
            raise _too_large(limit, {"Connection": "close"})
    if size > limit:
        raise _too_large(limit, None)
    return bytes(body)


def _too_large(limit: int, headers: dict[str, str] | None) -> Problem:
    return Problem(413, f"the body is longer than {limit} bytes: send less at once", code="too_large", headers=headers)
