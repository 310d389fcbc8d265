"""What the OpenAPI document says of a route beyond its parameters: one line a route.

    @router.get("/things", **documented(401, 422, 503, schema=THINGS, example={"things": []}))

says that callers need a token, what the answer is, and which errors there are. `describe(app)` puts what these
refer to into the document.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from lastseen.envelope import Event
from lastseen.positions import EARLIEST_TOKEN

BEARER: Final = "bearer"
PROBLEM_TYPE: Final = "application/problem+json"

Schema = Mapping[str, Any]

_ENTRY: Final = "(0|[1-9][0-9]{0,9})=(-1|0|[1-9][0-9]{0,18})"
POSITION: Final[Schema] = {
    "type": "string",
    "pattern": f"^({EARLIEST_TOKEN}|[a-z0-9]{{1,16}}:({_ENTRY}(,{_ENTRY})*)?)$",
    "description": f"A position: a token that the server gave, or `{EARLIEST_TOKEN}` for everything held.",
    "examples": ["k3f9:0=1523,1=88"],
}

_PROBLEM: Final[Schema] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; `detail` says what was wrong and what would be right.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail", "code"],
                "additionalProperties": False,
                "properties": {
                    "field": {"type": "string", "description": "A path; empty for the whole."},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}

_ERRORS: Final[Mapping[int, tuple[str, str, str]]] = {
    400: ("The request can't be read", "bad_request", "the body is no JSON"),
    401: (
        "No token, or none that is good",
        "unauthorized",
        "send Authorization: Bearer TOKEN",
    ),
    403: ("The caller may not", "forbidden", "project:shop may not be read with this token"),
    404: ("There is no such thing", "not_found", "Not Found"),
    409: ("It contradicts what the log says", "conflict", "a task keeps its project for life"),
    413: ("The body is too long", "too_large", "the body is longer than 33554432 bytes: send fewer events at once"),
    415: ("The body is of another type", "unsupported_media_type", "send application/json"),
    421: ("The host is not this service's", "misdirected_request", "this node is not called by that name"),
    422: ("Something in the request is wrong", "invalid_request", "limit: Input should be less than or equal to 1000"),
    429: ("Too many requests", "too_many", "too many requests: come back later"),
    503: (
        "It can't be told or done now; `Retry-After` says when to come back",
        "unavailable",
        "the log does not answer",
    ),
    504: ("Nobody has answered in time", "timeout", "the holder of the task has not answered yet"),
}
_NULL: Final = "\0null"
_OF_IDENTITY: Final = (401, 429, 503)
_HEADERS: Final[Mapping[int, Mapping[str, Schema]]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "The scheme, `Bearer`."}},
    429: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}


def documented(
    *errors: int,
    schema: Schema | None = None,
    example: object = None,
    status: int = 200,
    description: str = "Done",
    also: Mapping[str, Schema] | None = None,
    body: Schema | None = None,
    is_open: bool = False,
) -> dict[str, Any]:
    """Arguments for the decorator of a route.

    `errors` are the statuses with which it may refuse. `schema` and `example` are of the JSON that it answers with
    `status`; `also` are other media types that it can answer with, as OpenAPI describes them. `body` is the request
    body of a route that reads it by itself. A route that `is_open` needs no token; to any other is added what
    asking for one may answer: 401, 429 and 503.
    """
    refused = {*errors} if is_open else {*errors, 401, 429, 503}
    responses: dict[int | str, dict[str, Any]] = {code: _refusal(code) for code in sorted(refused)}
    content = dict(also or {})
    if schema is not None:
        content["application/json"] = (
            {"schema": schema} if example is None else {"schema": schema, "example": _kept(example)}
        )
    responses[status] = {"description": description, **({"content": content} if content else {})}
    extra: dict[str, Any] = {} if is_open else {"security": [{BEARER: []}]}
    if body is not None:
        extra["requestBody"] = body
    return {"status_code": status, "responses": responses, "openapi_extra": extra}


def _refusal(status: int) -> dict[str, Any]:
    description, code, detail = _ERRORS[status]
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    answer: dict[str, Any] = {
        "description": description,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in _HEADERS:
        answer["headers"] = _HEADERS[status]
    return answer


def describe(app: FastAPI) -> None:
    """Put into the document of `app` what routes refer to: problems, events, and the token that callers give."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        if "securitySchemes" not in components:
            components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
            schemas = components.setdefault("schemas", {})
            schemas |= _event_schemas()
            schemas["Position"] = POSITION
            schemas["Problem"] = _PROBLEM
            # Every route says itself what its errors look like.
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            _restore(document["paths"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _kept(example: object) -> object:
    """An example that comes through the framework whole: it leaves out what is null."""
    if isinstance(example, Mapping):
        return {name: _kept(value) for name, value in example.items()}
    if isinstance(example, list):
        return [_kept(value) for value in example]
    return _NULL if example is None else example


def _restore(node: Any) -> None:
    """Put the nulls of examples back."""
    for name, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if value == _NULL:
            node[name] = None
        elif isinstance(value, dict | list):
            _restore(value)


def _event_schemas() -> dict[str, Any]:
    """`Event`, as it is published, and `StoredEvent`, as it is read."""
    given = Event.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = given.pop("$defs", {})
    schemas["Event"] = given
    # What is read is complete; what is given may leave the category to the type.
    given["required"] = ["type"]
    read = Event.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    read.pop("$defs", None)
    place = {"type": "integer", "minimum": 0}
    read["properties"] |= {
        "channels": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "partition": place,
        "offset": place,
        "appended_at": {"type": "string", "format": "date-time", "description": "The log's own time of appending."},
    }
    read |= {
        "title": "StoredEvent",
        "description": "An event as the log has it.",
        "required": sorted(read["properties"]),
        # A foreign producer's may have more.
        "additionalProperties": True,
    }
    schemas["StoredEvent"] = read
    return schemas
