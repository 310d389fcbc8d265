"""The issuer's keys as they are now: fetched when they are needed, kept, and kept on while the issuer is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from service.adapters.tokens.errors import InvalidToken
from service.adapters.tokens.key_set import BadKeySet, Key, pick, read_key_set
from service.domain.errors import Unavailable

_log = logging.getLogger(__name__)
_STALE_RETRY_SECONDS: Final = 30.0
"""How long old keys do without another try, once the issuer has not answered."""


class PublishedKeys:
    """The keys of one address. No other source has a say in them, and they are never found by their name alone.

    `fetch` gives the document, or raises Unavailable; it must bound its time. `now` is a monotonic clock. One fetch
    is under way at a time, whoever needs it waits for it, and `refresh_seconds` lie between two at least.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        now: Callable[[], float],
        *,
        refresh_seconds: float,
        max_age_seconds: float,
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._refresh_seconds = refresh_seconds
        self._max_age_seconds = max_age_seconds
        self._keys: Sequence[Key] | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._problem: str | None = None
        self._fetching = asyncio.Lock()
        self._round = 0

    async def find(self, id_: str | None, algorithm: str) -> Any:
        """The key for `algorithm` that a token calls by `id_`, or the only one where it calls by no name.

        Raises InvalidToken where the issuer has none, Unavailable where that can't be known now.
        """
        if self._keys is None or self._is_stale:
            await self._refresh()
        key = pick(self._keys or (), id_, algorithm)
        if key is None and self._wait == 0.0:
            await self._refresh()
            key = pick(self._keys or (), id_, algorithm)
        if key is not None:
            return key.key
        if self._problem is not None:
            raise Unavailable(f"the issuer's keys can't be had now: {self._problem}", retry_after=max(self._wait, 1.0))
        if id_ is None:
            raise InvalidToken(f"it names no key (kid), and the issuer has not exactly one for {algorithm}")
        raise InvalidToken(f"the issuer has no such key (kid) for {algorithm}")

    @property
    def _is_stale(self) -> bool:
        """Whether keys that are there have to be fetched anew first, for one may have been withdrawn."""
        if self._now() - self._fetched_at <= self._max_age_seconds:
            return False
        pause = max(_STALE_RETRY_SECONDS, self._refresh_seconds) if self._problem else 0.0
        return self._tried_at is None or self._now() - self._tried_at >= pause

    @property
    def _wait(self) -> float:
        """Seconds until another fetch may begin; 0 also while one is under way, which may be joined."""
        return 0.0 if self._fetching.locked() else self._wait_since_last

    @property
    def _wait_since_last(self) -> float:
        return 0.0 if self._tried_at is None else max(self._tried_at + self._refresh_seconds - self._now(), 0.0)

    async def _refresh(self) -> None:
        """Fetch, or wait for the fetch under way; not at all where the last one was just now."""
        round_ = self._round
        async with self._fetching:
            if self._round != round_ or self._wait_since_last > 0:
                return
            try:
                keys = read_key_set(await self._fetch())
            except (Unavailable, BadKeySet) as error:
                if self._problem is None:
                    _log.warning("the issuer's keys can't be fetched, old ones stay in use: %s", error)
                self._problem = str(error)
            else:
                if self._problem is not None:
                    _log.info("the issuer's keys are there again")
                self._keys, self._problem, self._fetched_at = keys, None, self._now()
            self._round += 1
            self._tried_at = self._now()
