"""Reading the past of a channel over HTTP, page by page, over every interruption."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from lastseen.getting import Getting, Query
from lastseen.notices import Gap, Message
from lastseen.positions import Position
from lastseen.renewal import Token

PAGE: Final = 1_000
"""The most events that the service gives at once."""
LATEST: Final = "latest"
_FIELDS: Final = ("events", "next", "previous", "watermark")


class History:
    """The events of a channel that the log holds when it is asked: iterate it, once.

    In the order of the log, a partition after the other (the events of a project and of its tasks share one). With
    `newest` only so many of the last ones, in the order of their times. While the service is away it tries again;
    `on_retry(reason, delay)` tells. Raises AccessDenied, AuthenticationFailed, BadRequest and ProtocolError.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        channel: str,
        *,
        types: Sequence[str] = (),
        after: str | None = None,
        since: str | None = None,
        until: str | None = None,
        newest: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> None:
        self._getting = Getting(url, "events", token, on_retry)
        if newest is not None and newest < 1:
            raise ValueError("newest: ask for at least one event")
        if newest is not None and after is not None:
            raise ValueError("give one of after and newest")
        if after is not None:
            Position.parse(after)
        fixed = {"channel": channel, "type": list(types), "since": since, "until": until}
        self._query: Query = {name: value for name, value in fixed.items() if value}
        self._channel = channel
        self._after = after
        self._newest = newest
        self._on_gap = on_gap
        self.position: str | None = None
        """Once all was read: subscribe `after` it, and nothing falls between the history and live events."""

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._forward() if self._newest is None else self._last(self._newest)

    async def _forward(self) -> AsyncIterator[Message]:
        after = self._after or "earliest"
        end: str | None = None
        async with self._getting.http() as http:
            while True:
                # Once it is known where the log ended when it was asked, what comes later is not waited for.
                upto = {} if end is None else {"before": end}
                page = await self._page(http, {"limit": PAGE, "after": after, **upto})
                self._tell(page)
                for event in page["events"]:
                    yield event
                end = end or page["watermark"]
                after = page["next"]
                if after == page["watermark"]:
                    self.position = end
                    return

    async def _last(self, count: int) -> AsyncIterator[Message]:
        found: list[Message] = []
        before: str | None = LATEST
        async with self._getting.http() as http:
            while before is not None and len(found) < count:
                page = await self._page(http, {"limit": min(PAGE, count - len(found)), "before": before})
                self._tell(page)
                self.position = self.position or page["next"]
                found += page["events"]
                before = page["previous"]
        for event in reversed(found):
            yield event

    async def _page(self, http: httpx.AsyncClient, query: Mapping[str, str | int]) -> dict[str, Any]:
        return await self._getting.get(http, {**self._query, **query}, _FIELDS, "page of history")

    def _tell(self, page: Mapping[str, Any]) -> None:
        gap = page.get("gap")
        if gap is not None and self._on_gap is not None:
            requested, earliest = Position.parse(gap["requested"]), Position.parse(gap["earliest"])
            self._on_gap(Gap((self._channel,), requested, earliest, str(gap["reason"])))
