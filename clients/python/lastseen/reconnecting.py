"""Keeping a conversation going: one connection after the other, each from where the session is."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from lastseen.asking import Asking
from lastseen.backoff import Backoff
from lastseen.close_codes import Return, return_window, when_to_return
from lastseen.connection import Connection, connecting
from lastseen.delivering import Delivering
from lastseen.errors import ProtocolError
from lastseen.line import Line
from lastseen.renewal import Renewal
from lastseen.session import Session
from lastseen.verdicts import code_and_reason, refusal, wait_after

STEADY_SECONDS: Final = 10.0
"""A connection that lasted so long went well: the back-off starts small again."""
_log: Final = logging.getLogger(__name__)


class Reconnecting:
    """Connects, converses, and comes back when the close code and the back-off say so.

    `query` is that of the address, less the position; `on_interruption` as the client's. `give_way(closed)` is asked
    about a close for good: whether to come back all the same, because something was changed.
    """

    def __init__(
        self,
        url: str,
        query: dict[str, str],
        session: Session,
        line: Line,
        asking: Asking,
        delivering: Delivering,
        renewal: Renewal,
        backoff: Backoff,
        *,
        on_interruption: Callable[[str, float], None] | None,
        give_way: Callable[[ConnectionClosed], bool],
    ) -> None:
        self._url = url
        self._query = query
        self._session = session
        self._line = line
        self._asking = asking
        self._delivering = delivering
        self._renewal = renewal
        self._backoff = backoff
        self._on_interruption = on_interruption
        self._give_way = give_way
        self._has_renewed = False

    async def run(self) -> NoReturn:
        """Go on until something ends it for good, which is raised."""
        clock = asyncio.get_running_loop().time
        while True:
            began, self._delivering.is_established = clock(), False
            retry_after = 0.0
            window: float | None = None
            try:
                await self._converse()
            except ConnectionClosed as closed:
                reason, back = self._judge(closed)
                window = return_window(*code_and_reason(closed))
            except InvalidStatus as error:
                reason, back = f"HTTP {error.response.status_code}", Return.LATER
                retry_after = wait_after(error)
            except (OSError, TimeoutError, InvalidHandshake) as error:
                reason, back = str(error) or type(error).__name__, Return.LATER
            except ProtocolError as error:
                reason, back = str(error), Return.LATER
            finally:
                self._line.connection = None
                self._session.on_disconnected()
            if self._delivering.is_established:
                self._has_renewed = self._has_renewed and back is Return.AFTER_RENEWING
                if back is Return.AT_ONCE or clock() - began >= STEADY_SECONDS:
                    self._backoff.reset()
            # A node that goes away knows how many come back with this client.
            delay = max(self._backoff.next(), retry_after) if window is None else self._backoff.within(window)
            await self._pause(reason, delay)

    async def _pause(self, reason: str, delay: float) -> None:
        _log.info("interrupted (%s), back in %.1f s", reason, delay)
        if self._on_interruption is not None:
            self._on_interruption(reason, delay)
        await asyncio.sleep(delay)

    def _judge(self, closed: ConnectionClosed) -> tuple[str, Return]:
        """Why it ended, and when to come back. Raises Rejected where never."""
        if self._line.connection is not None and self._line.connection.dropped is not None:
            return self._line.connection.dropped, Return.AT_ONCE
        code, reason = code_and_reason(closed)
        back = when_to_return(code, reason)
        if back is Return.AFTER_RENEWING:
            # Renewed once in vain: the next token would be refused as well.
            in_vain = self._has_renewed and not self._delivering.is_established
            if not self._renewal.is_renewable or in_vain:
                raise refusal(closed) from closed
            self._has_renewed = True
        elif back is Return.NEVER and not self._give_way(closed):
            raise refusal(closed) from closed
        return f"{code} {reason}".strip(), back

    async def _converse(self) -> NoReturn:
        """One connection, from opening to its end, which is an exception."""
        token = await self._renewal.token()
        resume = self._session.resume()
        query = self._query if resume.after is None else {**self._query, "after": resume.after}
        async with connecting(self._url, token, query) as socket:
            self._line.connection = connection = Connection(socket)
            # What was subscribed while the connection was being opened is asked for here as well.
            now = self._session.resume()
            if now.after != resume.after:
                connection.drop("what came while away was asked for meanwhile")
            for message in (*now.messages, *self._asking.unanswered):
                connection.send(message)
            await connection.run(self._delivering.handle)
        raise AssertionError("a connection ends by an exception")
