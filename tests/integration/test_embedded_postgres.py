"""When the embedded Postgres counts as ready."""

import asyncio
import dataclasses
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.embedded.errors import StartError
from service.embedded.postgres import Postgres

AUTHENTICATION_OK = b"R\x00\x00\x00\x08\x00\x00\x00\x00"


def error(sqlstate: str) -> bytes:
    body = b"SFATAL\0C" + sqlstate.encode() + b"\0Mdying\0\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body


def at(port: int, tmp_path: Path, password: str = "x") -> Postgres:
    return Postgres(tmp_path, tmp_path, None, port, password, tmp_path / "log")


async def is_ready(postgres: Postgres) -> bool:
    ready = postgres.child().ready
    assert ready is not None
    return await ready()


@pytest.mark.parametrize(
    "answer",
    [b"", AUTHENTICATION_OK, AUTHENTICATION_OK[:4], error("57P03"), error("57P01"), error("53300"), error("XX000")],
    ids=["closed", "closed-later", "torn", "starting", "stopping", "full", "internal"],
)
async def test_a_server_that_goes_away_in_the_hand_shake_is_not_ready(answer: bytes, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert not await is_ready(at(port, tmp_path))
    assert not await is_ready(at(port, tmp_path)), "nobody listens any more"


async def test_a_real_one_is_ready_for_its_password_alone(postgres_url: str, tmp_path: Path) -> None:
    url = urlsplit(postgres_url)
    assert url.port is not None
    postgres = at(url.port, tmp_path, url.password or "")
    assert await is_ready(postgres)
    with pytest.raises(StartError, match="put back the `postgres-password` it was made with"):
        await is_ready(dataclasses.replace(postgres, password="another"))


async def test_a_server_that_is_gone_makes_no_database_and_says_so(tmp_path: Path, unused_port: int) -> None:
    with pytest.raises(StartError, match="Postgres could not make its database"):
        await at(unused_port, tmp_path).make_database()


@pytest.fixture
def unused_port() -> int:
    from service.embedded.free_ports import choose

    return choose(1)[0]
