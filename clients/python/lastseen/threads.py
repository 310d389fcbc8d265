"""Blocking calls off the event loop, without a thread that could hold up the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns, run in a daemon thread.

    Unlike `asyncio.to_thread` it keeps nobody waiting at exit for a read or write that may never come back.
    A cancelled caller goes on at once; the call runs to its end unheard.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]  # T where there is no error

    def work() -> None:
        value, error = None, None
        try:
            value = call(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the caller waits
            error = raised
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # the loop has closed: nobody waits any more

    threading.Thread(target=work, daemon=True, name=f"lastseen {getattr(call, '__name__', 'call')}").start()
    return await result
