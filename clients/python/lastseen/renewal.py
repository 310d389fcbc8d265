"""The token of a client: fixed, or made when it is needed, and put in the place of one that runs out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from lastseen.line import Line
from lastseen.notices import Message
from lastseen.tasks import Tasks

Token = str | Callable[[], Awaitable[str]]
RETRY_SECONDS: Final = 5.0
"""Between two attempts to renew: the service tells again and again of a token that has less than a minute."""
_REF: Final = "authenticate"
_log: Final = logging.getLogger(__name__)


class Renewal:
    """Gives the token for a connection, and another to the open one before the first has run out.

    Where that fails the connection ends with its token, and the next one begins with a new token.
    """

    def __init__(self, token: Token, line: Line, tasks: Tasks) -> None:
        self._token = token
        self._line = line
        self._tasks = tasks
        self._present = ""
        self._is_renewing = False
        self._is_answered = False

    @property
    def is_renewable(self) -> bool:
        """Whether another token can be had."""
        return not isinstance(self._token, str)

    async def token(self) -> str:
        """A token for a new connection."""
        self._present = self._token if isinstance(self._token, str) else await self._token()
        return self._present

    def expiring(self) -> None:
        """The token of the open connection ends soon."""
        if self.is_renewable and not self._is_renewing:
            self._is_renewing, self._is_answered = True, False
            self._tasks.start(self._renew(), "renewal of the token")

    def take(self, message: Message) -> bool:
        """Whether this message of the server answers a renewal."""
        if message.get("ref") != _REF:
            return False
        if message.get("type") != "error":
            self._is_answered = True
        elif message.get("retry_after") is not None:
            self._present = ""  # the same may be taken when it is sent again
        else:
            _log.warning("the new token was not taken: %s", message.get("message"))
            self._is_answered = True
        return True

    async def _renew(self) -> None:
        connection = self._line.connection
        try:
            while not self._is_answered and connection is self._line.connection:
                token = await self._another()
                if token is not None and connection is self._line.connection:
                    self._present = token
                    self._line.send({"type": "authenticate", "token": token, "ref": _REF})
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._is_renewing = False

    async def _another(self) -> str | None:
        """Another token than the present one; None where there is none yet."""
        assert not isinstance(self._token, str)
        try:
            token = await self._token()
        except Exception as error:  # noqa: BLE001 - the caller's function: there is time to try again
            _log.warning("no new token could be had yet: %r", error)
            return None
        return None if token == self._present else token
