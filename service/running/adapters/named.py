"""Adapters by their names: those that come with Lastseen, and a deployment's own."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from service.domain.errors import BadRequest
from service.imported import what_failed
from service.running.adapter import Adapter
from service.running.adapters.claude import ClaudeAdapter
from service.running.adapters.plain import PlainAdapter
from service.running.adapters.progress import ProgressAdapter

GROUP: Final = "lastseen.adapters"
BUILT_IN: Final[Mapping[str, Callable[[], Adapter]]] = {
    "plain": PlainAdapter,
    "claude": ClaudeAdapter,
    "progress": ProgressAdapter,
}

_METHODS: Final = ("command", "output", "finish", "input", "confirm")
_PROPERTIES: Final = ("needs_input", "opening", "input_ends", "open_confirmations")


def adapter_named(name: str) -> Adapter:
    """A new adapter, for one task: a built-in one, else what the entry point of that name in the group makes.

    Raises BadRequest where there is none (it names those there are), and where it can't be had (it says why).
    """
    if (make := BUILT_IN.get(name)) is not None:
        return make()
    found = {point.name: point for point in entry_points(group=GROUP)}
    if (point := found.get(name)) is None:
        there = ", ".join(sorted({*BUILT_IN, *found}))
        raise BadRequest(f"there is no adapter {name}; there are {there}", code="unknown_adapter", field="adapter")
    return _made(point)


def _made(point: EntryPoint) -> Adapter:
    try:
        adapter: Adapter = point.load()()
        # Properties are looked at, as they are asked of the task's adapter: one that fails is no adapter.
        missing = [name for name in _METHODS if not callable(getattr(adapter, name, None))]
        missing += [name for name in _PROPERTIES if not hasattr(adapter, name)]
    except Exception as error:
        raise _broken(point, f"failed: {what_failed(error)}") from error
    if missing:
        raise _broken(point, f"lacks {', '.join(missing)} of the port Adapter (service/running/adapter.py)")
    return adapter


def _broken(point: EntryPoint, problem: str) -> BadRequest:
    return BadRequest(f"the adapter {point.name} ({point.value}) {problem}", code="broken_adapter", field="adapter")
