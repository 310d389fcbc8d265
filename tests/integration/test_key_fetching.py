"""Keys over real HTTP: from an issuer that behaves, and from some that don't."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.adapters.tokens.fetching import FETCH_SECONDS, MOST_BYTES, open_published_keys
from service.domain.errors import Unavailable
from tests.issuer import RSA, key_set

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""])

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        await writer.drain()

    return write


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def slow(writer: asyncio.StreamWriter) -> None:
    """A byte now and then: each comes in time, the whole never."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.2)


async def nothing(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01\x02 no HTTP at all\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def issuer(answers: Answer) -> AsyncIterator[str]:
    """The address of somebody who answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answers(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the node hung up
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    finally:
        server.close()


async def test_keys_over_http() -> None:
    async with (
        issuer(answer(key_set(RSA))) as url,
        open_published_keys(url, refresh_seconds=10, max_age_seconds=300) as keys,
    ):
        assert await keys.find(RSA.id, RSA.algorithm) == RSA.private.public_key()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        pytest.param(answer(b"", "500 Internal Server Error"), "status 500", id="error"),
        pytest.param(answer(b"", "302 Found", "Location: http://127.0.0.1:1/"), "status 302", id="elsewhere"),
        pytest.param(
            answer(gzip.compress(b" " * 10_000_000), "200 OK", "Content-Encoding: gzip"), "compressed", id="bomb"
        ),
        pytest.param(endless, f"more than {MOST_BYTES} bytes", id="endless"),
        pytest.param(slow, f"no answer within {FETCH_SECONDS:g} s", id="slow"),
        pytest.param(nothing, "can't be had", id="nothing"),
        pytest.param(nonsense, "can't be had", id="nonsense"),
        pytest.param(answer(b"[]"), "no object", id="no keys"),
    ],
)
async def test_an_answer_that_is_none(answers: Answer, said: str) -> None:
    async with issuer(answers) as url, open_published_keys(url, refresh_seconds=10, max_age_seconds=300) as keys:
        with pytest.raises(Unavailable, match=said):
            await keys.find(RSA.id, RSA.algorithm)
