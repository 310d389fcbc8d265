"""Waiting for a descriptor that does not block."""

import asyncio


async def until_readable(fd: int, wake: "asyncio.Future[None] | None" = None) -> None:
    """Until something, or the end, can be read from `fd`, or `wake` is done."""
    loop = asyncio.get_running_loop()
    ready = wake or loop.create_future()
    loop.add_reader(fd, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def until_writable(fd: int, wake: "asyncio.Future[None] | None" = None) -> None:
    """Until something can be written to `fd`, or nothing ever can, or `wake` is done."""
    loop = asyncio.get_running_loop()
    ready = wake or loop.create_future()
    loop.add_writer(fd, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
