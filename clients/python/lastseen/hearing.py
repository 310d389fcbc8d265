"""Hearing the commands of a task that one runs: over HTTP, over every interruption."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import httpx
from pydantic import ValidationError

from lastseen.answers import Retry, judge
from lastseen.backoff import Backoff
from lastseen.commands import Command
from lastseen.connection import is_loopback, websocket_url
from lastseen.errors import AuthenticationFailed, BadRequest, LastseenError, ProtocolError
from lastseen.renewal import Token
from lastseen.server_sent import Parser, Sent

_SILENCE_SECONDS: Final = 60.0
"""A service that says nothing for so long, no keep-alive either, has gone."""
_TIMEOUT: Final = httpx.Timeout(_SILENCE_SECONDS, connect=5.0)


class CommandStream:
    """The commands of `task`, in their order, from those on that may still be applied.

    A command may come twice: apply each user and id once, and none after its deadline. While the service is away it
    tries again for ever, with back-off, and goes on where it was; `on_retry(reason, delay)` tells.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        task: str,
        *,
        backoff: Backoff | None = None,
        on_retry: Callable[[str, float], None] | None = None,
    ) -> None:
        websocket_url(url, {})  # an address that can't work is told at once
        self._url = f"{url.rstrip('/')}/api/v1/tasks/{task}/commands"
        self._token = token
        self._backoff = backoff or Backoff(base=0.1, cap=5.0)
        self._on_retry = on_retry
        self._last_id = ""
        self._is_renewed = False
        self._return_seconds = 0.0

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Until the task has ended. Raises AccessDenied, AuthenticationFailed, BadRequest where they can't be had."""
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=not is_loopback(self._url)) as http:
            while True:
                try:
                    async with aclosing(self._connect(http)) as stream:
                        async for sent in stream:
                            if sent.type == "message":
                                yield _command(sent)
                            elif sent.type == "unsubscribed":
                                return
                    # It has ended in order, and said when to come back.
                    retry = Retry("the stream has ended", self._backoff.within(self._return_seconds))
                except httpx.TransportError as error:
                    retry = Retry(f"{type(error).__name__}: {error}".rstrip(": "), None)
                except _Refused as refused:
                    retry = refused.retry
                except BadRequest as error:
                    if error.code == "task_ended":
                        return
                    raise
                delay = max(self._backoff.next(), retry.after or 0.0)
                if self._on_retry is not None:
                    self._on_retry(retry.reason, delay)
                await asyncio.sleep(delay)

    async def _connect(self, http: httpx.AsyncClient) -> AsyncGenerator[Sent, None]:
        """What one connection gives. Raises _Refused where another may succeed."""
        token = self._token if isinstance(self._token, str) else await self._token()
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        async with http.stream("GET", self._url, headers=headers) as response:
            if response.status_code != HTTPStatus.OK:
                await response.aread()
                self._judge(response)
            self._backoff.reset()
            self._is_renewed = False
            parser = Parser(self._last_id)
            async for data in response.aiter_bytes():
                for sent in parser.feed(data):
                    yield sent
                    self._last_id = sent.last_id
                self._last_id = parser.last_id
                if parser.retry_ms is not None:
                    self._return_seconds = parser.retry_ms / 1000

    def _judge(self, response: httpx.Response) -> None:
        verdict = judge(response)
        if isinstance(verdict, AuthenticationFailed) and callable(self._token) and not self._is_renewed:
            self._is_renewed = True
            raise _Refused(Retry(str(verdict), None))
        if isinstance(verdict, Retry):
            raise _Refused(verdict)
        raise verdict or ProtocolError(f"the service answered HTTP {response.status_code} to a stream of commands")


class _Refused(LastseenError):
    """It may be had another time."""

    def __init__(self, retry: Retry) -> None:
        super().__init__(retry.reason)
        self.retry = retry


def _command(sent: Sent) -> Command:
    try:
        return Command.model_validate_json(sent.data)
    except ValidationError as error:
        raise ProtocolError(f"{sent.data[:200]!r} is no command: {error.errors()[0]['msg']}") from error
