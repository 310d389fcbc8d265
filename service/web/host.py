"""What the conversations of a server share."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.datastructures import Address, Headers

from service.node.node import Node
from service.web.admission import Admitted, Caller, Refusal, admit, admit_at_once
from service.web.door import Door


class Host(NamedTuple):
    """The node that they are with, and who may come in.

    `client_of` says where a client is, by the headers of a trusted proxy; without it, it is where it comes from.
    """

    node: Node
    door: Door
    max_message_bytes: int
    client_of: Callable[[Address | None, Headers], Awaitable[Address | None]] | None = None

    async def admit(self, caller: Caller) -> Admitted | Refusal:
        """Who it is, where it is let in."""
        if self.client_of is not None:
            caller = caller._replace(client=await self.client_of(caller.client, caller.headers))
        return await admit(caller, self.door)

    def admit_at_once(self, caller: Caller) -> Admitted | Refusal | None:
        """The same; None where something has to be awaited for that."""
        return None if self.client_of is not None else admit_at_once(caller, self.door)
