"""The port `Cursors` on the table `cursor`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import asyncpg
from lastseen.positions import Position

from service.adapters.postgres.gathering import Gathered
from service.adapters.postgres.pool import Connection, answering
from service.domain.cursors import moved
from service.ports import Cursor, CursorKey

MOST_OF_A_USER: Final = 100

# What has rested too long is forgotten, whether or not it was swept yet.
_LIVES: Final = "(${n}::interval IS NULL OR moved_at > now() - ${n}::interval)"
_FIND: Final = f"""
    SELECT "user", client_id, position FROM cursor
    WHERE ("user", client_id) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND {_LIVES.format(n=3)}
"""  # noqa: S608
_FOUND_AT_ONCE: Final = 500
# In the order of their keys, so that two nodes that move the same ones don't deadlock.
_LOCK: Final = f"""
    SELECT "user", client_id, position, {_LIVES.format(n=3)} AS lives FROM cursor
    WHERE ("user", client_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
    ORDER BY "user", client_id FOR UPDATE
"""  # noqa: S608
_BEGIN: Final = """
    INSERT INTO cursor ("user", client_id, position)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS new("user", client_id, position)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING "user"
"""
# Of the epochs at hand: nodes of two may run at once, and the earlier must not take back what the later has moved.
_NUMBERS: Final = "SELECT name, number FROM epoch WHERE name = ANY($1)"
_MOVE: Final = f"""
    UPDATE cursor c SET position = new.position, moved_at = now()
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new("user", client_id, position)
    WHERE c."user" = new."user" AND c.client_id = new.client_id
    AND (c.position <> new.position OR NOT {_LIVES.format(n=4)})
"""  # noqa: S608
# Two nodes that each begin one of a user's would each see only their own. In the order of the users, as above.
_TAKE_TURNS: Final = """
    SELECT pg_advisory_xact_lock(hashtextextended('cursor ' || "user", 0)) FROM (
        SELECT "user" FROM unnest($1::text[]) WITH ORDINALITY AS asked("user", place) ORDER BY place
    ) AS in_order
"""
_TOO_MANY: Final = 'SELECT "user", count(*) - $2 FROM cursor WHERE "user" = ANY($1) GROUP BY 1 HAVING count(*) > $2'
# One that somebody moves just now has not rested, and waiting for it could be waiting for each other.
_TRIM: Final = """
    DELETE FROM cursor WHERE "user" = $1 AND client_id IN (
        SELECT client_id FROM cursor WHERE "user" = $1
        ORDER BY moved_at, client_id DESC LIMIT $2 FOR UPDATE SKIP LOCKED
    )
"""
_OF_USER: Final = f"""
    SELECT client_id, position, moved_at, moved_at + $2::interval AS expires_at FROM cursor
    WHERE "user" = $1 AND {_LIVES.format(n=2)} ORDER BY client_id
"""  # noqa: S608
_DELETE: Final = f"""
    DELETE FROM cursor WHERE "user" = $1 AND client_id = $2 RETURNING {_LIVES.format(n=3)}
"""  # noqa: S608
# In the order of the key, so that all of them are one walk through it. An index by time would be written at every move.
_RESTED: Final = """
    SELECT "user", client_id FROM cursor
    WHERE ("user", client_id) > ($1, $2) AND moved_at <= now() - $3::interval
    ORDER BY "user", client_id LIMIT $4
"""
# Once more, or a client that has come back meanwhile would lose its place.
_FORGET: Final = """
    DELETE FROM cursor c USING (
        SELECT "user", client_id FROM cursor
        WHERE ("user", client_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        AND moved_at <= now() - $3::interval
        ORDER BY "user", client_id FOR UPDATE SKIP LOCKED
    ) rested
    WHERE c."user" = rested."user" AND c.client_id = rested.client_id
"""
_SWEPT_AT_ONCE: Final = 1_000


class PostgresCursors:
    """Made over a pool; see the port for what it does. `rest`: how long a cursor may rest, None for ever."""

    def __init__(self, pool: asyncpg.Pool, rest: timedelta | None = None) -> None:
        self._pool = pool
        self._rest = rest
        self._finding = Gathered(self._find, _FOUND_AT_ONCE)

    async def find(self, key: CursorKey) -> Position | None:
        return await self._finding.ask(key)

    async def _find(self, keys: Sequence[CursorKey]) -> Sequence[Position | None]:
        users, clients = [key.user_id for key in keys], [key.client_id for key in keys]
        with answering():
            rows = await self._pool.fetch(_FIND, users, clients, self._rest)
        found = {(row["user"], row["client_id"]): Position.parse(row["position"]) for row in rows}
        return [found.get(key) for key in keys]

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        users, clients = [key.user_id for key in moves], [key.client_id for key in moves]
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                written = _Written()
                first = [written.token(position) for position in moves.values()]
                begun = await connection.fetch(_BEGIN, users, clients, first)
                rows = await connection.fetch(_LOCK, users, clients, self._rest)
                stored = {
                    CursorKey(row["user"], row["client_id"]): written.position(row["position"])
                    for row in rows
                    if row["lives"]
                }
                epochs = {position.epoch for position in (*stored.values(), *moves.values())}
                # Nearly always they are all of one.
                found = await connection.fetch(_NUMBERS, sorted(epochs)) if len(epochs) > 1 else ()
                numbers = {row["name"]: row["number"] for row in found}
                now = {key: written.moved(stored.get(key), position, numbers) for key, position in moves.items()}
                tokens = [written.token(position) for position in now.values()]
                await connection.execute(_MOVE, users, clients, tokens, self._rest)
                await _trim(connection, sorted({row["user"] for row in begun}))
        return now

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        with answering():
            rows = await self._pool.fetch(_OF_USER, user_id, self._rest)
        return [
            Cursor(row["client_id"], Position.parse(row["position"]), row["moved_at"], row["expires_at"])
            for row in rows
        ]

    async def delete(self, key: CursorKey) -> bool:
        with answering():
            return bool(await self._pool.fetchval(_DELETE, *key, self._rest))


class _Written:
    """Positions and their tokens, each read, moved and written once: of a batch most are those of a few pings."""

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}
        # By the objects, which are kept so that no other takes the place of one.
        self._tokens: dict[int, tuple[Position, str]] = {}
        self._moved: dict[tuple[int, int], tuple[Position, Position, Position]] = {}

    def moved(self, stored: Position | None, to: Position, numbers: Mapping[str, int]) -> Position:
        """As `domain.cursors.moved`."""
        if stored is None:
            return to
        known = self._moved.get((id(stored), id(to)))
        if known is None:
            known = self._moved[id(stored), id(to)] = (stored, to, moved(stored, to, numbers))
        return known[2]

    def position(self, token: str) -> Position:
        """The position that a token means."""
        position = self._positions.get(token)
        if position is None:
            position = self._positions[token] = Position.parse(token)
        return position

    def token(self, position: Position) -> str:
        """The token of a position."""
        written = self._tokens.get(id(position))
        if written is None:
            written = self._tokens[id(position)] = (position, position.token)
        return written[1]


async def sweep_cursors(pool: asyncpg.Pool, rest: timedelta) -> int:
    """Forget the cursors that have rested for so long; how many. Raises HistoryUnavailable."""
    swept, after = 0, ("", "")
    with answering():
        while rows := await pool.fetch(_RESTED, *after, rest, _SWEPT_AT_ONCE):
            users, clients = [row["user"] for row in rows], [row["client_id"] for row in rows]
            swept += int((await pool.execute(_FORGET, users, clients, rest)).split()[-1])
            after = (users[-1], clients[-1])
    return swept


async def _trim(connection: Connection, users: Sequence[str]) -> None:
    """Forget what these users have too many of, the ones that have rested longest first."""
    if users:
        await connection.execute(_TAKE_TURNS, users)
    for user, surplus in await connection.fetch(_TOO_MANY, users, MOST_OF_A_USER):
        await connection.execute(_TRIM, user, surplus)
