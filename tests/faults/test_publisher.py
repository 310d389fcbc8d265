"""The publisher over real sockets, against a server that is away, breaks lines and refuses."""

import asyncio
import random
from typing import Any

import pytest
from lastseen.answers import Place
from lastseen.backoff import Backoff
from lastseen.envelope import Event
from lastseen.errors import AccessDenied, AuthenticationFailed, BadRequest, Closed
from lastseen.names import Category
from lastseen.publisher import MAX_BATCH, MAX_QUEUED, Publisher

from tests.faults.http import AWAY, DROP_AFTER, DROP_BEFORE, OK, EventServer, taking_events
from tests.waiting import until


def publisher_of(server: EventServer, **options: Any) -> Publisher:
    return Publisher(server.url, options.pop("token", "t"), backoff=Backoff(base=0.001, cap=0.01), **options)


def event(number: int) -> dict[str, Any]:
    return {"type": "user_action", "user_id": "u", "data": {"n": number}}


async def test_each_event_is_there_once_and_in_order_whatever_breaks() -> None:
    random_ = random.Random(7)
    kinds: list[str | int] = [OK, AWAY, DROP_BEFORE, DROP_AFTER, 500, 502, 429]
    faults = random_.choices(kinds, k=200)
    async with taking_events(faults) as server, publisher_of(server, linger=0) as publisher:
        places = []
        for number in range(500):
            places.append(await publisher.submit(event(number)))
            if number % 7 == 0:
                await places[-1]
        offsets = [(await place).offset for place in places]
        assert offsets == list(range(500))
        assert [had["data"]["n"] for had in server.log] == list(range(500))
        assert server.most_at_once == 1


async def test_a_retry_after_a_lost_answer_is_a_duplicate() -> None:
    async with taking_events([DROP_AFTER]) as server, publisher_of(server) as publisher:
        place = await publisher.publish({**event(1), "id": "mine"})
        assert place == Place("mine", 0, 0, duplicate=True)
        assert len(server.requests) == 2


async def test_events_that_come_together_go_together() -> None:
    async with taking_events() as server, publisher_of(server) as publisher:
        places = [await publisher.submit(event(number)) for number in range(1500)]
        await asyncio.gather(*places)
        assert max(server.requests) <= MAX_BATCH
        assert len(server.requests) < 20


async def test_a_refused_event_fails_alone() -> None:
    async with taking_events() as server, publisher_of(server) as publisher:
        server.refuse = lambda event: "not this" if event["data"]["n"] % 3 == 0 else None
        places = [await publisher.submit(event(number)) for number in range(10)]
        results = await asyncio.gather(*places, return_exceptions=True)
        for number, result in enumerate(results):
            assert isinstance(result, BadRequest if number % 3 == 0 else Place)
        assert str(results[0]) == "not this"
        assert isinstance(results[0], BadRequest)
        assert (results[0].field, results[0].code) == ("type", "refused")


async def test_of_a_batch_refused_whole_each_event_is_told_its_own_fault() -> None:
    async with taking_events() as server, publisher_of(server) as publisher:
        server.refuse = lambda event: f"not {event['data']['n']}"
        places = [await publisher.submit(event(number)) for number in range(5)]
        results = await asyncio.gather(*places, return_exceptions=True)
        assert [str(result) for result in results] == [f"not {number}" for number in range(5)]


async def test_the_wait_that_the_server_names_is_kept() -> None:
    told: list[tuple[str, float]] = []
    async with taking_events([AWAY]) as server:
        server.retry_after = "0.05"
        async with publisher_of(server, on_retry=lambda reason, delay: told.append((reason, delay))) as publisher:
            await publisher.publish(event(1))
    assert told == [("HTTP 503: answered 503", 0.05)]


async def test_a_refused_token_is_raised_and_one_that_can_be_renewed_is_renewed() -> None:
    made = 0

    async def token() -> str:
        nonlocal made
        made += 1
        return f"t{made}"

    async with taking_events([401, OK]) as server, publisher_of(server, token=token) as publisher:
        assert (await publisher.publish(event(1))).offset == 0
        assert server.tokens == ["t1", "t2"]
    async with taking_events([401]) as server, publisher_of(server) as publisher:
        with pytest.raises(AuthenticationFailed, match="answered 401"):
            await publisher.publish(event(1))
    async with taking_events([403]) as server, publisher_of(server) as publisher:
        with pytest.raises(AccessDenied):
            await publisher.publish(event(1))


async def test_what_waits_is_bounded() -> None:
    async with taking_events([AWAY] * 1000) as server, publisher_of(server) as publisher:
        submitted = 0

        async def submit_for_ever() -> None:
            nonlocal submitted
            while True:
                await publisher.submit(event(submitted))
                submitted += 1

        submitting = asyncio.create_task(submit_for_ever())
        await until(lambda: submitted >= MAX_QUEUED, what="a full queue")
        await until(lambda: len(server.requests) > 20, what="more attempts")
        assert submitted <= MAX_QUEUED + MAX_BATCH
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
        server.faults = iter(())
        await publisher.flush()
        assert [had["data"]["n"] for had in server.log] == list(range(len(server.log)))
        assert len(server.log) in (submitted, submitted + 1)


async def test_leaving_waits_for_what_was_taken_on() -> None:
    async with taking_events([AWAY, DROP_BEFORE]) as server:
        async with publisher_of(server) as publisher:
            for number in range(10):
                await publisher.submit(event(number))
        assert len(server.log) == 10
        with pytest.raises(Closed):
            await publisher.submit(event(11))


async def test_leaving_by_an_exception_waits_for_nobody() -> None:
    async with taking_events([AWAY] * 1000) as server:
        places = []

        async def fail() -> None:
            async with publisher_of(server) as publisher:
                places.append(await publisher.submit(event(1)))
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await fail()
        with pytest.raises(Closed):
            await places[0]


async def test_an_event_that_is_a_model_goes_as_the_service_takes_it() -> None:
    async with taking_events() as server, publisher_of(server) as publisher:
        made = Event(type="task_output", category=Category.TASK, task_id="t", data={"text": "é"})
        place = await publisher.publish(made)
        assert place.id == made.id
        assert Event.model_validate(server.log[0]) == made
