"""Asking the service over HTTP, again and again while it is away."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydantic_core import from_json

from lastseen.answers import Retry, judge
from lastseen.backoff import Backoff
from lastseen.connection import is_loopback, websocket_url
from lastseen.errors import BadRequest, ProtocolError
from lastseen.renewal import Token

_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)

Query = Mapping[str, str | int | list[str]]
OnRetry = Callable[[str, float], None]


class Getting:
    """`GET` of one address under `/api/v1`; to be entered.

    While the service is away it tries again; `on_retry(reason, delay)` tells.
    """

    def __init__(self, url: str, path: str, token: Token, on_retry: OnRetry | None = None) -> None:
        websocket_url(url, {})  # an address that can't work is told at once
        self._url = f"{url.rstrip('/')}/api/v1/{path}"
        self._token = token
        self._on_retry = on_retry

    def http(self) -> httpx.AsyncClient:
        """What the calls are made with, to be entered."""
        return httpx.AsyncClient(timeout=_TIMEOUT, trust_env=not is_loopback(self._url))

    async def get(self, http: httpx.AsyncClient, query: Query, has: Collection[str], what: str) -> dict[str, Any]:
        """The object that it answers with, which has these fields and is `what`.

        Raises AccessDenied, AuthenticationFailed, BadRequest and ProtocolError.
        """
        backoff = Backoff(base=0.1, cap=5.0)
        while True:
            token = self._token if isinstance(self._token, str) else await self._token()
            try:
                response = await http.get(self._url, params=query, headers={"Authorization": f"Bearer {token}"})
            except httpx.TransportError as error:
                verdict = Retry(str(error) or type(error).__name__, None)
            else:
                if response.status_code == HTTPStatus.OK:
                    return _read(response.content, has, what)
                judged = judge(response)
                if isinstance(judged, BadRequest) and judged.field:
                    raise BadRequest(
                        f"{judged.field}: {judged}", code=judged.code, status=judged.status, field=judged.field
                    )
                if not isinstance(judged, Retry):
                    raise judged or ProtocolError(f"the service answered HTTP {response.status_code} to {what}")
                verdict = judged
            delay = max(backoff.next(), verdict.after or 0.0)
            if self._on_retry is not None:
                self._on_retry(verdict.reason, delay)
            await asyncio.sleep(delay)


def _read(body: bytes, has: Collection[str], what: str) -> dict[str, Any]:
    try:
        answer = from_json(body)
        missing = {*has} - answer.keys()
    except (ValueError, AttributeError) as error:
        raise ProtocolError(f"the service's answer {body[:200]!r} is no {what}") from error
    if missing:
        raise ProtocolError(f"the service's answer {body[:200]!r} lacks {', '.join(sorted(missing))}")
    return dict(answer)
