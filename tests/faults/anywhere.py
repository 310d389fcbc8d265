"""Publishing through whichever node is there."""

import asyncio
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx

from tests.nodes import ADMIN, NodeProcess


class AnywherePublisher:
    """Use it in an `async with`."""

    def __init__(self, nodes: Sequence[NodeProcess], random: Random) -> None:
        self._nodes = nodes
        self._random = random
        self._http = httpx.AsyncClient(trust_env=False, timeout=20, headers={"Authorization": f"Bearer {ADMIN}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def publish(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Publish until some node has judged it, the same ids again where one did not answer.

        The answers, one an event: a place, or an `error` where it comes too late for its task.
        """
        for event in events:
            event.setdefault("id", f"e{self._random.getrandbits(64):016x}")
        while True:
            node = self._random.choice(self._nodes)
            try:
                response = await self._http.post(f"{node.url}/api/v1/events", json=events)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            match response.status_code:
                case 202:
                    answers: list[dict[str, Any]] = response.json()
                    return answers
                case 409:
                    return [{"error": {"code": "conflict"}} for _ in events]
                case status:
                    assert status == 503, response.text
                    await asyncio.sleep(0.1)
