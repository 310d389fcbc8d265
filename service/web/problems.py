"""Errors over HTTP: `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from lastseen.field_errors import FieldError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.domain.errors import Unavailable

_WORDS = {"extra_forbidden": "is nothing that this call takes", "missing": "is needed"}


class Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.errors = list(errors)
        self.headers = headers
        self.more = dict(more or {})

    def response(self) -> JSONResponse:
        """The answer."""
        body: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            "code": self.code,
            **self.more,
        }
        if self.errors:
            body["errors"] = [error._asdict() for error in self.errors]
        return JSONResponse(body, self.status, self.headers, "application/problem+json")


def unavailable(error: Unavailable, detail: str = "", more: Mapping[str, object] | None = None) -> Problem:
    """503, with when to come back; `detail` goes before what the error says, `more` beside it."""
    headers = {"Retry-After": str(max(round(error.retry_after), 1))}
    return Problem(503, f"{detail}{error}", code=error.code, headers=headers, more=more)


def refused(errors: Sequence[FieldError]) -> Problem:
    """422, for what is wrong with a body, field by field."""
    found = [error._replace(detail=_WORDS.get(error.code, error.detail)) for error in errors]
    detail = "; ".join(f"{one.field or 'the body'}: {one.detail}" for one in found[:3])
    return Problem(422, detail, code="invalid_request", errors=found)


def _invalid(error: RequestValidationError) -> Problem:
    """What is wrong with the parameters, or the body, of a request that a model describes."""
    errors = [
        FieldError(
            ".".join(str(part) for part in one["loc"][1:]),
            _WORDS.get(one["type"], one["msg"].removeprefix("Value error, ")),
            one["type"],
        )
        for one in error.errors()
    ]
    detail = "; ".join(f"{one.field or 'the request'}: {one.detail}" for one in errors[:3])
    return Problem(422, detail, code="invalid_request", errors=errors)


def _methods(request: Request) -> set[str]:
    """All methods that the path of a request takes."""
    return {
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework names those of the first route alone.
            headers["Allow"] = ", ".join(sorted(_methods(request)))
        return Problem(error.status_code, str(error.detail), code=code, headers=headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    # Where there is one, the server logs the error all the same.
    @app.exception_handler(Exception)
    async def fault(_: Request, __: Exception) -> JSONResponse:
        return Problem(500, "Internal server error", code="internal_server_error").response()
