"""The port `Leases` on the tables `runner` and `task_claim`."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from service.adapters.postgres.pool import answering
from service.ports import Claim

_BEGIN: Final = "INSERT INTO runner (incarnation, name) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_RENEW: Final = """
    UPDATE runner SET renewal = renewal + 1, renewed_at = clock_timestamp()
    WHERE incarnation = $1 AND lost_at IS NULL RETURNING true
"""
_RENEWALS: Final = "SELECT incarnation, renewal FROM runner WHERE lost_at IS NULL"
_LOSE: Final = """
    UPDATE runner SET lost_at = clock_timestamp()
    WHERE incarnation = $1 AND renewal = $2 AND lost_at IS NULL RETURNING true
"""
_LEAVE: Final = "DELETE FROM runner WHERE incarnation = $1"
# The lock: whoever says at this moment that the runner is lost finds the claim, or keeps it from being made.
_CLAIM: Final = """
    INSERT INTO task_claim (task, runner, command, "user", project)
    SELECT $1, incarnation, $3, $4, $5 FROM (
        SELECT incarnation FROM runner WHERE incarnation = $2 AND lost_at IS NULL FOR SHARE
    ) living
    ON CONFLICT DO NOTHING
"""
_IS_MINE: Final = """
    SELECT true FROM task_claim c JOIN runner r ON r.incarnation = c.runner AND r.lost_at IS NULL
    WHERE c.task = $1 AND c.runner = $2 AND c.command = $3 AND c."user" = $4 AND c.ended_at IS NULL
"""
_IS_HELD: Final = """
    SELECT true FROM task_claim c JOIN runner r ON r.incarnation = c.runner AND r.lost_at IS NULL
    WHERE c.task = $1 AND c.ended_at IS NULL
"""
_RELEASE: Final = "DELETE FROM task_claim WHERE task = $1 AND runner = $2 AND ended_at IS NULL"
_END: Final = """
    UPDATE task_claim c SET ended_at = clock_timestamp() FROM unnest($1::text[], $2::text[]) AS ended(task, runner)
    WHERE c.task = ended.task AND c.runner = ended.runner AND c.ended_at IS NULL
"""
_LOST: Final = """
    SELECT task, runner, command, "user", project FROM task_claim c
    WHERE ended_at IS NULL
    AND NOT EXISTS (SELECT FROM runner r WHERE r.incarnation = c.runner AND r.lost_at IS NULL)
    ORDER BY task LIMIT 1000
"""
_SWEEP: Final = (
    "DELETE FROM task_claim WHERE ended_at < now() - make_interval(days => $1)",
    "DELETE FROM runner WHERE lost_at < now() - make_interval(days => $1)",
)


class PostgresLeases:
    """Made over a pool; see the port for what it does."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, runner: str, name: str) -> None:
        with answering():
            await self._pool.execute(_BEGIN, runner, name)

    async def renew(self, runner: str) -> bool:
        with answering():
            return bool(await self._pool.fetchval(_RENEW, runner))

    async def renewals(self) -> Mapping[str, int]:
        with answering():
            rows = await self._pool.fetch(_RENEWALS)
        return {row["incarnation"]: row["renewal"] for row in rows}

    async def lose(self, runner: str, renewal: int) -> bool:
        with answering():
            return bool(await self._pool.fetchval(_LOSE, runner, renewal))

    async def leave(self, runner: str) -> None:
        with answering():
            await self._pool.execute(_LEAVE, runner)

    async def claim(self, claim: Claim) -> bool:
        with answering():
            await self._pool.execute(_CLAIM, *claim)
            # Asked for itself, since an earlier try may have made it whose answer was lost.
            return bool(await self._pool.fetchval(_IS_MINE, *claim[:4]))

    async def release(self, claim: Claim) -> None:
        with answering():
            await self._pool.execute(_RELEASE, claim.task, claim.runner)

    async def end(self, claims: Sequence[Claim]) -> None:
        with answering():
            await self._pool.execute(_END, [claim.task for claim in claims], [claim.runner for claim in claims])

    async def is_held(self, task: str) -> bool:
        with answering():
            return bool(await self._pool.fetchval(_IS_HELD, task))

    async def lost(self) -> Sequence[Claim]:
        with answering():
            rows = await self._pool.fetch(_LOST)
        return [Claim(row["task"], row["runner"], row["command"], row["user"], row["project"]) for row in rows]

    async def sweep(self, days: int) -> None:
        with answering():
            for statement in _SWEEP:
                await self._pool.execute(statement, days)
