"""When an issuer's keys are fetched, and what holds while it is away. The clock is an argument."""

import asyncio

import pytest

from service.adapters.tokens import InvalidToken
from service.adapters.tokens.key_set import read_key_set
from service.adapters.tokens.published import PublishedKeys
from service.domain.errors import Unavailable
from tests.issuer import ED25519, P256, RSA, SigningKey, key_set
from tests.waiting import until


class Issuer:
    """Answers with its keys, when it answers."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = keys
        self.now = 1000.0
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.problem: str | None = None
        self.document: bytes | None = None
        self.published = PublishedKeys(self._fetch, lambda: self.now, refresh_seconds=10, max_age_seconds=300)

    async def _fetch(self) -> bytes:
        self.asked += 1
        await self.answers.wait()
        if self.problem is not None:
            raise Unavailable(self.problem)
        return key_set(*self.keys) if self.document is None else self.document

    async def has(self, key: SigningKey) -> bool:
        """Whether a token of this key would find it; raises Unavailable."""
        try:
            found = await self.published.find(key.id, key.algorithm)
        except InvalidToken:
            return False
        (expected,) = read_key_set(key_set(key))
        assert found == expected.key
        return True


async def test_keys_are_fetched_once_and_kept() -> None:
    issuer = Issuer(RSA, P256)
    assert issuer.asked == 0, "not before they are needed"
    for _ in range(5):
        assert await issuer.has(RSA)
        assert await issuer.has(P256)
    assert issuer.asked == 1


async def test_many_at_once_wait_for_one_fetch() -> None:
    issuer = Issuer(RSA)
    issuer.answers.clear()
    waiting = [asyncio.create_task(issuer.has(key)) for key in [RSA, ED25519] * 20]
    await until(lambda: issuer.asked == 1, what="the fetch")
    issuer.now += 2
    issuer.answers.set()
    assert await asyncio.gather(*waiting) == [True, False] * 20
    assert issuer.asked == 1


async def test_an_unknown_name_fetches_but_only_so_often() -> None:
    issuer = Issuer(RSA)
    assert await issuer.has(RSA)
    issuer.keys = (RSA, P256)
    assert not await issuer.has(P256), "too soon after the last fetch"
    issuer.now += 10
    assert await issuer.has(P256)
    assert issuer.asked == 2
    for number in range(1000):
        assert not await issuer.has(SigningKey("RS256", f"made up {number}", RSA.private))
        issuer.now += 0.03
    assert issuer.asked == 4, "30 s of nonsense"


async def test_a_withdrawn_key_is_forgotten_with_its_age() -> None:
    issuer = Issuer(RSA, P256)
    assert await issuer.has(RSA)
    issuer.keys = (P256,)
    issuer.now += 300
    assert await issuer.has(RSA)
    issuer.now += 1
    assert not await issuer.has(RSA), "fetched before it is used once more, however long nobody has come"
    assert await issuer.has(P256)
    issuer.now += 1000
    issuer.keys = ()
    assert not await issuer.has(P256), "an issuer may withdraw them all"


async def test_old_keys_hold_while_the_issuer_is_away() -> None:
    issuer = Issuer(RSA)
    assert await issuer.has(RSA)
    issuer.problem = "gone fishing"
    issuer.now += 3600
    for _ in range(600):
        assert await issuer.has(RSA)
        issuer.now += 1
    assert issuer.asked <= 1 + 600 / 30 + 1
    with pytest.raises(Unavailable, match="gone fishing") as error:
        await issuer.has(P256)
    assert 1 <= error.value.retry_after <= 10
    issuer.problem, issuer.keys = None, (P256,)
    issuer.now += 30
    assert await issuer.has(P256)
    assert not await issuer.has(RSA)


@pytest.mark.parametrize("document", [b"<html>Bad gateway</html>", b"{}", b""])
async def test_an_answer_that_is_no_key_set_takes_no_key_away(document: bytes) -> None:
    issuer = Issuer(RSA)
    assert await issuer.has(RSA)
    issuer.document = document
    issuer.now += 301
    assert await issuer.has(RSA)
    assert issuer.asked == 2


async def test_before_the_first_answer_nobody_is_refused_for_good() -> None:
    issuer = Issuer(RSA)
    issuer.problem = "not up yet"
    for _ in range(20):
        with pytest.raises(Unavailable, match="not up yet"):
            await issuer.has(RSA)
    assert issuer.asked == 1
    issuer.problem = None
    issuer.now += 10
    assert await issuer.has(RSA)


async def test_who_gives_up_waiting_leaves_the_others_unharmed() -> None:
    issuer = Issuer(RSA)
    issuer.answers.clear()
    first, second = asyncio.create_task(issuer.has(RSA)), asyncio.create_task(issuer.has(RSA))
    await until(lambda: issuer.asked == 1, what="the fetch")
    first.cancel()
    await asyncio.wait([first])
    issuer.answers.set()
    assert await second
    assert first.cancelled()
