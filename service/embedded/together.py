"""Several things at once, with one plain error."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Runs all of them side by side; the first that fails cancels the others, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as failures:
        # Not `except*`: what is raised inside that is wrapped again, by some Pythons and not by others.
        raise failures.exceptions[0] from None
