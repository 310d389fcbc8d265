"""Fetching a key set over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx

from service.adapters.tokens.published import PublishedKeys
from service.addresses import is_loopback
from service.domain.errors import Unavailable

FETCH_SECONDS: Final = 3.0
MOST_BYTES: Final = 256 * 1024


@asynccontextmanager
async def open_published_keys(
    url: str, *, refresh_seconds: float, max_age_seconds: float
) -> AsyncIterator[PublishedKeys]:
    """The keys at `url`, which `service.addresses.key_set_address` accepts. Nothing is fetched before it is needed."""
    is_local = is_loopback(urlsplit(url).hostname or "")
    async with httpx.AsyncClient(
        timeout=FETCH_SECONDS,
        # A redirection could lead to where nobody has said that keys may come from.
        follow_redirects=False,
        trust_env=not is_local,
        # Unpacked, a short answer may be long.
        headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
    ) as http:

        async def fetch() -> bytes:
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    return await _get(http, url)
            except TimeoutError as error:
                raise Unavailable(f"no answer within {FETCH_SECONDS:g} s") from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                raise Unavailable(f"{type(error).__name__} {error}".rstrip()) from error

        now = asyncio.get_running_loop().time
        yield PublishedKeys(fetch, now, refresh_seconds=refresh_seconds, max_age_seconds=max_age_seconds)


async def _get(http: httpx.AsyncClient, url: str) -> bytes:
    async with http.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"the answer has status {response.status_code} instead of 200")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unavailable("the answer is compressed, though that was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                raise Unavailable(f"the answer has more than {MOST_BYTES} bytes")
        return bytes(body)
