"""Reading the past of a channel over HTTP, page by page, over every interruption."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydantic_core import from_json

from lastseen.answers import Retry, judge
from lastseen.backoff import Backoff
from lastseen.connection import is_loopback, websocket_url
from lastseen.errors import BadRequest, ProtocolError
from lastseen.notices import Gap, Message
from lastseen.positions import Position
from lastseen.renewal import Token

PAGE: Final = 1_000
"""The most events that the service gives at once."""
LATEST: Final = "latest"
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)


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
        websocket_url(url, {})  # an address that can't work is told at once
        if newest is not None and newest < 1:
            raise ValueError("newest: ask for at least one event")
        if newest is not None and after is not None:
            raise ValueError("give one of after and newest")
        if after is not None:
            Position.parse(after)
        self._url = url.rstrip("/") + "/api/v1/events"
        self._token = token
        fixed = {"channel": channel, "type": list(types), "since": since, "until": until}
        self._query = {name: value for name, value in fixed.items() if value}
        self._channel = channel
        self._after = after
        self._newest = newest
        self._on_gap = on_gap
        self._on_retry = on_retry
        self.position: str | None = None
        """Once all was read: subscribe `after` it, and nothing falls between the history and live events."""

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._forward() if self._newest is None else self._last(self._newest)

    async def _forward(self) -> AsyncIterator[Message]:
        after = self._after or "earliest"
        end: str | None = None
        async with self._http() as http:
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
        async with self._http() as http:
            while before is not None and len(found) < count:
                page = await self._page(http, {"limit": min(PAGE, count - len(found)), "before": before})
                self._tell(page)
                self.position = self.position or page["next"]
                found += page["events"]
                before = page["previous"]
        for event in reversed(found):
            yield event

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=_TIMEOUT, trust_env=not is_loopback(self._url))

    async def _page(self, http: httpx.AsyncClient, query: Mapping[str, str | int]) -> dict[str, Any]:
        backoff = Backoff(base=0.1, cap=5.0)
        while True:
            token = self._token if isinstance(self._token, str) else await self._token()
            try:
                response = await http.get(
                    self._url, params={**self._query, **query}, headers={"Authorization": f"Bearer {token}"}
                )
            except httpx.TransportError as error:
                verdict = Retry(str(error) or type(error).__name__, None)
            else:
                if response.status_code == HTTPStatus.OK:
                    return _read(response.content)
                judged = judge(response)
                if isinstance(judged, BadRequest) and judged.field:
                    raise BadRequest(
                        f"{judged.field}: {judged}", code=judged.code, status=judged.status, field=judged.field
                    )
                if not isinstance(judged, Retry):
                    raise judged or ProtocolError(f"the service answered HTTP {response.status_code} to a page")
                verdict = judged
            delay = max(backoff.next(), verdict.after or 0.0)
            if self._on_retry is not None:
                self._on_retry(verdict.reason, delay)
            await asyncio.sleep(delay)

    def _tell(self, page: Mapping[str, Any]) -> None:
        gap = page.get("gap")
        if gap is not None and self._on_gap is not None:
            requested, earliest = Position.parse(gap["requested"]), Position.parse(gap["earliest"])
            self._on_gap(Gap((self._channel,), requested, earliest, str(gap["reason"])))


def _read(body: bytes) -> dict[str, Any]:
    try:
        page = from_json(body)
        missing = {"events", "next", "previous", "watermark"} - page.keys()
    except (ValueError, AttributeError) as error:
        raise ProtocolError(f"the service's answer {body[:200]!r} is no page of history") from error
    if missing:
        raise ProtocolError(f"the service's answer {body[:200]!r} lacks {', '.join(sorted(missing))}")
    return dict(page)
