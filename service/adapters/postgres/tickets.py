"""Tickets in Postgres: what spends one on a node has spent it on all."""

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import asyncpg

from service.adapters.postgres.gathering import Gathered
from service.adapters.postgres.pool import answering
from service.domain.errors import Denied, HistoryUnavailable, TooMany, Unavailable
from service.domain.identity import Identity
from service.ports import Ticket

_WAIT_SECONDS: Final = 5.0
_BYTES: Final = 32


class Kind(NamedTuple):
    """One kind of tickets: the table that holds them, what they are called, and the name of their locks."""

    table: str
    word: str
    locks: int


CONNECTING: Final = Kind("ticket", "ticket", 0x71C4E7)
SIGNING_IN: Final = Kind("sign_in_code", "code", 0x71C4E8)

# One request of a user at a time, or many at once would all find room for one more.
_LOCK = "SELECT pg_advisory_xact_lock($1, hashtext($2))"
_SWEEP = """
DELETE FROM {table} WHERE hash IN (
    SELECT hash FROM {table} WHERE expires_at <= clock_timestamp() LIMIT 100 FOR UPDATE SKIP LOCKED
)"""
_ISSUE = """
INSERT INTO {table} (hash, "user", claims, expires_at)
SELECT $1, $2, $3, least(clock_timestamp() + make_interval(secs => $4), to_timestamp($6))
WHERE (SELECT count(*) FROM {table} WHERE "user" = $2 AND expires_at > clock_timestamp()) < $5
RETURNING expires_at"""
_NEXT_END = """
SELECT extract(epoch FROM min(expires_at) - clock_timestamp())::float8
FROM {table} WHERE "user" = $1 AND expires_at > clock_timestamp()"""
# In the order of their hashes, so that two nodes that are given the same ones don't deadlock.
_SPEND = """
DELETE FROM {table} WHERE hash IN (SELECT hash FROM {table} WHERE hash = ANY($1) ORDER BY hash FOR UPDATE)
RETURNING hash, claims, expires_at > clock_timestamp() AS is_good"""
_SPENT_AT_ONCE: Final = 500


class PostgresTickets:
    """`Tickets`, by the database's clock: each good for `seconds`, no longer than its token,
    `most` unspent ones a user.

    The table holds the hash of each, so that whoever reads it can't use them.
    """

    def __init__(self, pool: asyncpg.Pool, *, seconds: float, most: int, kind: Kind = CONNECTING) -> None:
        self._pool = pool
        self._kind = kind
        self._sweep, self._issue, self._next_end, self._spend = (
            statement.format(table=kind.table) for statement in (_SWEEP, _ISSUE, _NEXT_END, _SPEND)
        )
        self._seconds = seconds
        self._most = most
        self._spending = Gathered(self._spend_all, _SPENT_AT_ONCE)

    async def issue(self, identity: Identity) -> Ticket:
        text = secrets.token_urlsafe(_BYTES)
        row = (_hash(text), identity.user_id, _to_json(identity), self._seconds, self._most, float(identity.expires_at))
        with _answering(self._kind):
            async with self._pool.acquire(timeout=_WAIT_SECONDS) as connection, connection.transaction():
                await connection.execute(self._sweep, timeout=_WAIT_SECONDS)
                await connection.execute(_LOCK, self._kind.locks, identity.user_id, timeout=_WAIT_SECONDS)
                expires_at = await connection.fetchval(self._issue, *row, timeout=_WAIT_SECONDS)
                if expires_at is not None:
                    return Ticket(text, expires_at)
                wait = await connection.fetchval(self._next_end, identity.user_id, timeout=_WAIT_SECONDS)
        raise TooMany(
            f"{self._most} {self._kind.word}s of {identity.user_id} are neither spent nor expired: spend one, or wait",
            retry_after=max(wait or 0.0, 1.0),
        )

    async def spend(self, text: str) -> Identity:
        row = await self._spending.ask(_hash(text))
        if row is None:
            raise Denied(f"there is no such {self._kind.word}, or it has been spent")
        if not row["is_good"]:
            raise Denied(f"the {self._kind.word} has expired")
        return _from_json(row["claims"])

    async def _spend_all(self, hashes: Sequence[bytes]) -> Sequence[asyncpg.Record | None]:
        with _answering(self._kind):
            async with self._pool.acquire(timeout=_WAIT_SECONDS) as connection:
                rows = await connection.fetch(self._spend, hashes, timeout=_WAIT_SECONDS)
        spent = {row["hash"]: row for row in rows}
        # Who gives the same one as another at the same time finds it spent.
        return [spent.pop(one, None) for one in hashes]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


@contextmanager
def _answering(kind: Kind) -> Iterator[None]:
    try:
        with answering():
            yield
    except HistoryUnavailable as error:
        raise Unavailable(f"{kind.word}s can't be had now: {error}", retry_after=error.retry_after) from error


def _to_json(identity: Identity) -> str:
    return json.dumps(
        {
            "user_id": identity.user_id,
            "role": identity.role,
            "projects": sorted(identity.projects),
            "scopes": sorted(identity.scopes),
            "expires_at": identity.expires_at,
        }
    )


def _from_json(text: str) -> Identity:
    claims = json.loads(text)
    return Identity(
        claims["user_id"],
        claims["role"],
        frozenset(claims["projects"]),
        frozenset(claims["scopes"]),
        claims["expires_at"],
    )
