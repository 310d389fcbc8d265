"""The runner: starts programs for others as tasks, does to them what commands say, and tells of it in the log.

Run it as `python -m consumers.runner`, as often as you like, on one machine or on many: every runner reads every
command. A start is taken by whoever claims it first, anything else is done by the runner that holds the task; what each
holds goes by its lease in Postgres, which the others watch (`service.domain.leases`).
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, NoReturn
from uuid import uuid4

from consumers.runner_loop import run
from consumers.running.admission import Admission
from consumers.running.claims import Claims
from consumers.running.guard import Guard
from consumers.running.holder import Holder
from consumers.running.judge import Judge
from consumers.running.lease import Lease
from consumers.running.programs import programs_of
from service.adapters.kafka.command_reader import read_commands
from service.adapters.kafka.log import open_log
from service.adapters.kafka.sink import LogSink
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.domain.errors import LastseenError, Unavailable
from service.ports import Leases
from service.settings import Settings

logger = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
REACH_SECONDS: Final = 60.0
"""How much further back than a command's deadline a runner that starts begins to read: clocks differ."""
LAST_WORDS_SECONDS: Final = 10.0
"""How long, once the programs have ended, their last events may take into the log."""
LEAVE_SECONDS: Final = 3.0
DRAINED: Final = "runner_drained"


async def run_tasks(settings: Settings) -> None:
    """Be one incarnation of a runner until cancelled, and then drain.

    Where the others have given it up meanwhile it ends its programs and returns: its caller begins with another.
    Raises Unavailable when Kafka or Postgres is away at its beginning; later it waits for them.
    """
    runner, url = uuid4().hex, settings.database_url.get_secret_value()
    try:
        programs = programs_of(settings)
    except LastseenError as error:
        sys.exit(f"runner: {error}")
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            open_log(settings.kafka, settings.topic, timeout=settings.kafka_timeout_seconds)
        )
        pool = await stack.enter_async_context(open_pool(url, size=4))
        leases = PostgresLeases(pool)
        epoch = await Epochs(pool).current(log.topic_id, log.partitions)
        guard = await stack.enter_async_context(Guard())
        await leases.begin(runner, settings.instance_id)
        stack.push_async_callback(_leave, leases, runner)
        lease = await stack.enter_async_context(Lease(url, runner, settings.runner_lease_seconds))
        claims = Claims(leases)
        judge = Judge(leases, PostgresRights(pool, epoch.number), log, runner, settings.runner_lease_seconds)
        holder = Holder(
            runner=runner,
            name=settings.instance_id,
            most=settings.runner_tasks,
            claims=claims,
            lease=lease,
            admission=Admission(settings, os.environ),
            programs=programs,
            guard=guard,
            sink=lambda: LogSink(log, settings.max_event_bytes, lease.admit),
            has_others=lambda: judge.sees_others,
        )
        reader = read_commands(
            settings.kafka,
            settings.commands_topic,
            settings.command_deadline_seconds + REACH_SECONDS,
            timeout=settings.kafka_timeout_seconds,
        )
        logger.info("runner %s runs tasks that match %s", runner, ", ".join(settings.allow) or "nothing")
        async with _beside(_beat(lease), claims.tend(), judge.run(), reader.follow(holder.take)):
            await _hold(holder, claims, lease, settings)


async def _hold(holder: Holder, claims: Claims, lease: Lease, settings: Settings) -> None:
    """Until the lease is lost, or, cancelled, until the tasks have ended."""
    try:
        await lease.lost()
    except asyncio.CancelledError:
        if await _ends_first(_drain(holder, settings), lease):
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await claims.settle()
        await _end(holder)
        raise
    logger.error("the other runners have given this one up: its programs are ended, and it begins anew")
    await _end(holder)


async def _drain(holder: Holder, settings: Settings) -> None:
    """End all tasks in order, as far as time and Kafka allow."""
    holder.close()
    if settings.runner_drain == "finish":
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.runner_drain_seconds):
                await holder.until_idle()
    holder.cancel(DRAINED)
    bound = settings.interrupt_seconds + settings.terminate_seconds + LAST_WORDS_SECONDS
    with suppress(TimeoutError):
        async with asyncio.timeout(bound):
            await holder.until_idle()
            return
    logger.error("tasks are left to the other runners to end: Kafka does not take their last events")


async def _end(holder: Holder) -> None:
    holder.lose()
    await holder.until_idle()


async def _ends_first(work: Coroutine[Any, Any, None], lease: Lease) -> bool:
    """Do `work` as long as the lease is held; whether it came to its end."""
    working, losing = asyncio.ensure_future(work), asyncio.ensure_future(lease.lost())
    try:
        await asyncio.wait([working, losing], return_when=asyncio.FIRST_COMPLETED)
        return working.done()
    finally:
        for task in (working, losing):
            task.cancel()
        await asyncio.gather(working, losing, return_exceptions=True)


async def _beat(lease: Lease) -> NoReturn:
    while True:
        lease.beat()
        await asyncio.sleep(BEAT_SECONDS)


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these beside the body, and no longer; one that fails cancels it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


async def _leave(leases: Leases, runner: str) -> None:
    """What it still holds is the others' to end."""
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await leases.leave(runner)
    except (Unavailable, TimeoutError) as error:
        logger.warning("the others have to find out that runner %s has ended: %s", runner, error)


if __name__ == "__main__":
    run("runner", run_tasks)
