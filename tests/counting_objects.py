"""An extension of a node for tests, that counts its objects.

`{"type": "objects"}` is answered with how many of ours there are, `{"type": "garbage"}` with how many the collector
finds of those since this was asked last.
"""

import gc
from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from service.node.connection import Connection
from service.node.handlers import Handlers


def extend(handlers: Handlers) -> None:
    """Add the types."""
    handlers.add("objects", _parse, _count)
    handlers.add("garbage", _parse, _find)


def _parse(_: Mapping[str, JsonValue], ref: JsonValue) -> JsonValue:
    return ref


async def _count(connection: Connection, ref: JsonValue) -> None:
    # Without looking for garbage first: what refers to itself counts.
    gc.unfreeze()
    names = _names(gc.get_objects())
    gc.freeze()
    connection.answer({"type": "objects_result", "objects": names, "ref": ref})


async def _find(connection: Connection, ref: JsonValue) -> None:
    # What it would find by itself from now on is kept for the next that asks.
    gc.disable()
    gc.unfreeze()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    names = _names(gc.garbage)
    gc.garbage.clear()
    gc.collect()
    connection.answer({"type": "garbage_result", "found": names, "ref": ref})


def _names(objects: Iterable[object]) -> dict[str, int]:
    return Counter(type(one).__name__ for one in objects if str(type(one).__module__).startswith("service."))
