"""The port `Cursors` on the table `cursor`."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
from lastseen.positions import Position

from service.adapters.postgres.pool import Connection, answering
from service.domain.cursors import moved
from service.ports import Cursor, CursorKey

MOST_OF_A_USER: Final = 100

_FIND: Final = 'SELECT position FROM cursor WHERE "user" = $1 AND client_id = $2'
# In the order of their keys, so that two nodes that move the same ones don't deadlock.
_LOCK: Final = """
    SELECT "user", client_id, position FROM cursor
    WHERE ("user", client_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY "user", client_id FOR UPDATE
"""
_BEGIN: Final = """
    INSERT INTO cursor ("user", client_id, position)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS new("user", client_id, position)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING "user"
"""
# Of the epochs at hand: nodes of two may run at once, and the earlier must not take back what the later has moved.
_NUMBERS: Final = "SELECT name, number FROM epoch WHERE name = ANY($1)"
_MOVE: Final = """
    UPDATE cursor c SET position = new.position, moved_at = now()
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new("user", client_id, position)
    WHERE c."user" = new."user" AND c.client_id = new.client_id AND c.position <> new.position
"""
# Two nodes that each begin one of a user's would each see only their own.
_TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('cursor ' || $1, 0))"
_TOO_MANY: Final = 'SELECT "user", count(*) - $2 FROM cursor WHERE "user" = ANY($1) GROUP BY 1 HAVING count(*) > $2'
# One that somebody moves just now has not rested, and waiting for it could be waiting for each other.
_TRIM: Final = """
    DELETE FROM cursor WHERE "user" = $1 AND client_id IN (
        SELECT client_id FROM cursor WHERE "user" = $1
        ORDER BY moved_at, client_id DESC LIMIT $2 FOR UPDATE SKIP LOCKED
    )
"""
_OF_USER: Final = 'SELECT client_id, position, moved_at FROM cursor WHERE "user" = $1 ORDER BY client_id'
_DELETE: Final = 'DELETE FROM cursor WHERE "user" = $1 AND client_id = $2 RETURNING 1'


class PostgresCursors:
    """Made over a pool; see the port for what it does."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, key: CursorKey) -> Position | None:
        with answering():
            found = await self._pool.fetchval(_FIND, *key)
        return None if found is None else Position.parse(found)

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        users, clients = [key.user_id for key in moves], [key.client_id for key in moves]
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                first = [position.token for position in moves.values()]
                begun = await connection.fetch(_BEGIN, users, clients, first)
                rows = await connection.fetch(_LOCK, users, clients)
                stored = {CursorKey(row["user"], row["client_id"]): Position.parse(row["position"]) for row in rows}
                epochs = {position.epoch for position in (*stored.values(), *moves.values())}
                # Nearly always they are all of one.
                found = await connection.fetch(_NUMBERS, sorted(epochs)) if len(epochs) > 1 else ()
                numbers = {row["name"]: row["number"] for row in found}
                now = {key: moved(stored.get(key), position, numbers) for key, position in moves.items()}
                await connection.execute(_MOVE, users, clients, [position.token for position in now.values()])
                await _trim(connection, sorted({row["user"] for row in begun}))
        return now

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        with answering():
            rows = await self._pool.fetch(_OF_USER, user_id)
        return [Cursor(row["client_id"], Position.parse(row["position"]), row["moved_at"]) for row in rows]

    async def delete(self, key: CursorKey) -> bool:
        with answering():
            return await self._pool.fetchval(_DELETE, *key) is not None


async def _trim(connection: Connection, users: Sequence[str]) -> None:
    """Forget what these users have too many of, the ones that have rested longest first."""
    for user in users:
        await connection.execute(_TAKE_TURNS, user)
    for user, surplus in await connection.fetch(_TOO_MANY, users, MOST_OF_A_USER):
        await connection.execute(_TRIM, user, surplus)
