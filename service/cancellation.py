"""Telling that a task is to end from what looks the same."""

import asyncio


def is_cancelled() -> bool:
    """Whether the running task has been told to end.

    A CancelledError alone does not say so: a driver cancels futures of its own where it loses a connection, which
    raises it in whoever waits for them. And a driver may swallow the one that was meant, while it connects or closes.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def heed_cancellation() -> None:
    """Raise the CancelledError that a driver has swallowed, as aiokafka does while it connects or closes."""
    if is_cancelled():
        raise asyncio.CancelledError
