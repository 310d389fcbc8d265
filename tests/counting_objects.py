"""An extension of a node for tests: `{"type": "objects"}` is answered with how many objects of ours there are."""

import gc
from collections import Counter
from collections.abc import Mapping

from pydantic import JsonValue

from service.node.connection import Connection
from service.node.handlers import Handlers


def extend(handlers: Handlers) -> None:
    """Add the type."""
    handlers.add("objects", _parse, _count)


def _parse(_: Mapping[str, JsonValue], ref: JsonValue) -> JsonValue:
    return ref


async def _count(connection: Connection, ref: JsonValue) -> None:
    # Without looking for garbage first: what refers to itself counts.
    gc.unfreeze()
    names = Counter(type(one).__name__ for one in gc.get_objects() if str(type(one).__module__).startswith("service."))
    gc.freeze()
    connection.answer({"type": "objects_result", "objects": dict(names), "ref": ref})
