"""Telling of one task: its events, in the order in which they were decided."""

import asyncio
from collections.abc import Callable

from lastseen.answers import Place
from lastseen.envelope import Event
from lastseen.errors import Closed, LastseenError

from service.running.sink import EventSink


class Teller:
    """Publishes what it is given, one call after the other: what waits for room in the sink is not overtaken.

    `warn` is told, once, when events are refused: from then on they are dropped, and the program goes on without.
    """

    def __init__(self, sink: EventSink, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._warn = warn
        self._turn = asyncio.Lock()
        self._silent = False

    async def begin(self, event: Event) -> None:
        """Publish the first event, and wait until the log has it. Raises what the sink does."""
        async with self._turn:
            try:
                await (await self._sink.submit(event))
            except BaseException:
                self._silent = True
                raise

    async def say(self, *events: Event) -> None:
        """Publish these, with nothing between them. It waits as long as the sink has no room."""
        async with self._turn:
            for event in events:
                if self._silent:
                    return
                try:
                    place = await self._sink.submit(event)
                except LastseenError as error:
                    self._refuse(error)
                else:
                    place.add_done_callback(self._placed)

    async def flush(self) -> None:
        """Wait until everything said so far is answered."""
        await self._sink.flush()

    def silence(self) -> None:
        """Say nothing from now on."""
        self._silent = True

    def _placed(self, place: "asyncio.Future[Place]") -> None:
        if not place.cancelled() and isinstance(error := place.exception(), LastseenError):
            self._refuse(error)

    def _refuse(self, error: LastseenError) -> None:
        if self._silent:
            return
        self._silent = True
        if not isinstance(error, Closed):  # whoever closed the sink knows
            self._warn(f"the task's events are no longer published: {error}")
