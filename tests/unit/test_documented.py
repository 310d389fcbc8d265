"""Every route says in the OpenAPI document whom it takes, how it refuses, and what an answer looks like."""

from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest

from service.web.app import create_app

DOCUMENT: dict[str, Any] = create_app(
    SimpleNamespace(services=None),  # type: ignore[arg-type]
    SimpleNamespace(origins=()),  # type: ignore[arg-type]
).openapi()
OPERATIONS = [(f"{method} {path}", one) for path, item in DOCUMENT["paths"].items() for method, one in item.items()]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": DOCUMENT["components"]}


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_a_route_is_documented(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    responses = operation["responses"]
    if "/api/v1/" in name and "security" in operation:
        assert operation["security"] == [{"bearer": []}]
        assert {"401", "429", "503"} <= responses.keys()
    good = [code for code in responses if code.startswith("2")]
    assert good
    for code, response in responses.items():
        content = response.get("content", {})
        if code.startswith(("4", "5")):
            assert list(content) == ["application/problem+json"], code
        for media in content.values():
            assert media["schema"], code
            assert "example" in media or "examples" in media, f"{code} without an example"
            if "example" in media and media["schema"].get("type") != "string":
                jsonschema_rs.validate(resolved(media["schema"]), media["example"])


def test_a_token_is_asked_for_wherever_something_is_told() -> None:
    open_ = {name for name, operation in OPERATIONS if "security" not in operation}
    told = {"get /healthz", "get /readyz", "get /metrics", "get /asyncapi.json", "get /api/v1/websocket/info"}
    assert open_ <= {*told, "post /api/v1/console/session"}
