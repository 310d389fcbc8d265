"""What the server does about a client's messages: one registry, by type, that a deployment may add to.

A handler is a parser, pure (`parse(fields, ref)` raises `ProtocolError`), and what is then done with the request
(`act(connection, request)`), which answers through the connection. Messages of one connection are acted on one
after the other: what takes long gives its answer later and does not wait here.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from pydantic import JsonValue

from service.domain.requests import Fields, ParsedMessage, ProtocolError, unknown_type
from service.node.connection import Connection

Parse = Callable[[Fields, JsonValue], Any]
Act = Callable[[Connection, Any], Awaitable[None]]
ActAtOnce = Callable[[Connection, Any], bool]


class Handler(NamedTuple):
    """How one type of message is read and acted on."""

    parse: Parse
    act: Act
    act_at_once: ActAtOnce | None = None
    """Does the same without waiting for anything; where it can't, it does nothing and says False."""


class Handlers:
    """The handlers by message type."""

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers = dict(handlers or {})

    @property
    def types(self) -> frozenset[str]:
        """The message types that are acted on."""
        return frozenset(self._handlers)

    def add(self, type_: str, parse: Parse, act: Act) -> None:
        """Act on one more type of message. Raises ValueError for one that has a handler."""
        if type_ in self._handlers:
            raise ValueError(f"messages of type {type_} have a handler already")
        self._handlers[type_] = Handler(parse, act)

    def read(self, message: ParsedMessage) -> tuple[Handler, Any]:
        """Who acts on a message, and the request in it. Raises ProtocolError."""
        handler = self._handlers.get(message.type)
        if handler is None:
            raise unknown_type(message)
        try:
            return handler, handler.parse(message.fields, message.ref)
        except ProtocolError as error:
            error.ref = message.ref
            raise

    def begin(self, connection: Connection, message: ParsedMessage) -> Callable[[], Awaitable[None]] | None:
        """Act on a message: None where that is done, else what is to be called and awaited. Raises ProtocolError."""
        handler, request = self.read(message)
        if handler.act_at_once is not None and handler.act_at_once(connection, request):
            return None
        return partial(handler.act, connection, request)
