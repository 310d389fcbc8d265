"""What the server does about a client's messages: one registry, by type, that a deployment may add to.

A handler is a parser, pure (`parse(fields, ref)` raises `ProtocolError`), and what is then done with the request
(`act(connection, request)`), which answers through the connection. Messages of one connection are acted on one
after the other: what takes long gives its answer later and does not wait here.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from service.domain.requests import Fields, ParsedMessage, ProtocolError, unknown_type
from service.node.connection import Connection

Parse = Callable[[Fields, JsonValue], Any]
Act = Callable[[Connection, Any], Awaitable[None]]


class Handler(NamedTuple):
    """How one type of message is read and acted on."""

    parse: Parse
    act: Act


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

    def read(self, message: ParsedMessage) -> tuple[Act, Any]:
        """What is to be done about a message, and the request in it. Raises ProtocolError."""
        handler = self._handlers.get(message.type)
        if handler is None:
            raise unknown_type(message)
        try:
            return handler.act, handler.parse(message.fields, message.ref)
        except ProtocolError as error:
            error.ref = message.ref
            raise

    async def handle(self, connection: Connection, message: ParsedMessage) -> None:
        """Read a message and act on it. Raises ProtocolError, which is to be answered."""
        act, request = self.read(message)
        await act(connection, request)
