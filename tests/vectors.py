"""The vectors in `tests/protocol`, and the schemas that messages are held against."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

FOLDER = Path(__file__).parent / "protocol"
CONVERSATIONS = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "messages")


@cache
def load(name: str) -> Any:
    """A file of vectors."""
    return json.loads((FOLDER / f"{name}.json").read_text())


class Schemas:
    """The payload schemas of an AsyncAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._validators = {
            name: jsonschema_rs.Draft202012Validator(message["payload"])
            for name, message in document["components"]["messages"].items()
        }

    def names(self, side: str) -> set[str]:
        """The types that a side (`server`, `client`) sends, `event` among them."""
        return {name.removeprefix(f"{side}.") for name in self._validators if name.startswith(f"{side}.")}

    def check(self, side: str, message: dict[str, Any]) -> str:
        """The name of a message's schema. Raises AssertionError where it is not as that says."""
        name = "event" if side == "server" and "offset" in message else str(message["type"])
        assert f"{side}.{name}" in self._validators, f"no schema of {side}.{name}: {message}"
        errors = [error.message for error in self._validators[f"{side}.{name}"].iter_errors(message)]
        assert not errors, f"{side}.{name}: {errors}: {message}"
        return name
