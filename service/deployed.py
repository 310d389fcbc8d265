"""A deployment's own code, called at the start; what is wrong with it is said in a sentence."""

from collections.abc import Callable, Sequence
from typing import Final

from service.domain.errors import LastseenError
from service.imported import what_failed
from service.node.handlers import Handlers
from service.ports import Access

_PORT: Final = ("judge", "may_execute", "may_start", "still_may", "contradicts", "note")


def authority_of(make: Callable[[Access], Access] | None) -> Callable[[Access], Access]:
    """What puts a deployment's judgement in front of the log's; none: the log decides. It raises LastseenError."""

    def put_in_front(by_the_log: Access) -> Access:
        if make is None:
            return by_the_log
        try:
            made = make(by_the_log)
        except Exception as error:
            raise LastseenError(f"LASTSEEN_AUTHORITY: {_name(make)} failed: {what_failed(error)}") from error
        missing = [name for name in _PORT if not callable(getattr(made, name, None))]
        if missing:
            problem = f"{_name(make)} gave a {type(made).__name__}, which lacks {', '.join(missing)} of the port Access"
            raise LastseenError(f"LASTSEEN_AUTHORITY: {problem} (service/ports.py)")
        return made

    return put_in_front


def extend(handlers: Handlers, extensions: Sequence[Callable[[Handlers], object]]) -> Handlers:
    """Let the extensions add their types of messages. Raises LastseenError."""
    for extension in extensions:
        try:
            extension(handlers)
        except Exception as error:
            raise LastseenError(f"LASTSEEN_EXTENSIONS: {_name(extension)} failed: {what_failed(error)}") from error
    return handlers


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}:{getattr(function, '__qualname__', function)}"
