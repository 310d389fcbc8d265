"""Epochs: one for each life of a topic, started by administration alone."""

import asyncio
import re
import uuid

import pytest
from lastseen.positions import Position

from service.adapters.kafka.topic_id import read_topic
from service.adapters.kafka.topics import ensure_topic
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.pool import open_pool
from service.domain.epochs import Loss, LostRange, Reason, epoch_name
from service.domain.errors import EpochEnded, HistoryUnavailable
from tests.waiting import until


def test_the_name_depends_on_topic_and_number_and_fits_a_token() -> None:
    topics = [uuid.UUID(int=number) for number in range(300)]
    names = {epoch_name(topic, number) for topic in topics for number in (1, 2, 3)}
    assert len(names) == 900
    assert all(re.fullmatch("[a-z0-9]{6}", name) for name in names)
    assert all(Position.parse(f"{name}:0=1").epoch == name for name in names)
    assert epoch_name(uuid.UUID(int=7), 1) == epoch_name(uuid.UUID(int=7), 1)


async def test_an_epoch_lasts_until_topic_or_partition_count_change(database: str) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    async with open_pool(database) as pool:
        epochs = Epochs(pool)
        first = await epochs.ensure(one, 12)
        assert (first.number, first.partitions, first.name) == (1, 12, epoch_name(one, 1))
        assert await epochs.ensure(one, 12) == first
        more = await epochs.ensure(one, 24)
        assert (more.number, more.partitions) == (2, 24)
        new = await epochs.ensure(other, 24)
        again = await epochs.ensure(one, 24)
        assert (new.number, again.number) == (3, 4)
        assert [epoch.first_of_topic for epoch in (first, more, new, again)] == [1, 1, 3, 4]
        assert await epochs.current(one, 24) == again
        assert (await epochs.ensure(one, 36)).first_of_topic == 4
        assert len({first.name, more.name, new.name, again.name}) == 4


async def test_only_the_topic_of_the_present_epoch_is_served(database: str) -> None:
    topic = uuid.uuid4()
    async with open_pool(database) as pool:
        epochs = Epochs(pool)
        with pytest.raises(HistoryUnavailable, match="missing"):
            await epochs.current(topic, 12)
        made = await epochs.ensure(topic, 12)
        assert await epochs.current(topic, 12) == made
        with pytest.raises(HistoryUnavailable, match="12 partitions"):
            await epochs.current(topic, 13)
        with pytest.raises(HistoryUnavailable, match=str(topic)):
            await epochs.current(uuid.uuid4(), 12)


async def test_a_loss_starts_one_epoch_whoever_finds_it_and_keeps_what_rights_were_read(database: str) -> None:
    topic = uuid.uuid4()
    lost = (LostRange(0, 50, 100), LostRange(1, 80, 80))
    async with open_pool(database, size=4) as pool:
        epochs = Epochs(pool)
        judged = await epochs.ensure(topic, 2)
        assert (await epochs.begun()).reason is Reason.CREATED
        begin = "INSERT INTO projection_offset (projection, epoch, partition, next_offset) VALUES ($1, 1, $2, $3)"
        await pool.executemany(begin, [("rights", 0, 90), ("rights", 1, 70), ("log", 0, 100)])
        answers = await asyncio.gather(*(epochs.start_after_loss(judged, lost) for _ in range(4)))
        (begun,) = [answer for answer in answers if answer is not None]
        assert begun == await epochs.current(topic, 2) == await epochs.ensure(topic, 2)
        assert (begun.number, begun.first_of_topic, begun.losses) == (2, 1, (Loss(2, lost),))
        assert begun.loss == Loss(2, lost)
        assert (await epochs.begun())[2:] == (Reason.LOST, False)
        await epochs.announced(begun)
        assert (await epochs.begun()).announced
        await epochs.check(begun)
        with pytest.raises(EpochEnded, match=f"{begun.name} is the present one"):
            await epochs.check(judged)
        # What outlived the loss was read already, the rest is read again.
        went_on = "SELECT projection, partition, next_offset FROM projection_offset WHERE epoch = 2 ORDER BY partition"
        assert [tuple(row) for row in await pool.fetch(went_on)] == [("rights", 0, 50), ("rights", 1, 70)]

        more = await epochs.ensure(topic, 4)
        assert (more.number, more.losses, more.loss) == (3, begun.losses, None)
        assert (await epochs.begun()).reason is Reason.PARTITIONS
        other = await epochs.ensure(uuid.uuid4(), 4)
        assert (other.first_of_topic, other.losses) == (4, ())
        assert (await epochs.begun()).reason is Reason.TOPIC


async def test_many_that_ensure_at_once_agree(database: str) -> None:
    topic = uuid.uuid4()
    async with open_pool(database, size=8) as pool:
        answers = await asyncio.gather(*(Epochs(pool).ensure(topic, 12) for _ in range(20)))
    assert len(set(answers)) == 1


async def test_a_topic_made_anew_has_another_id(kafka: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    name = f"anew-{uuid.uuid4().hex}"
    before = await ensure_topic(kafka, name, partitions=2)
    assert await ensure_topic(kafka, name, partitions=5) == before, "it is left as it is"
    assert await read_topic(kafka, name) == before
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([name])
    finally:
        await admin.close()

    async def is_gone() -> bool:
        return await read_topic(kafka, name) is None

    await until(is_gone, what="the topic being gone")
    after = await ensure_topic(kafka, name, partitions=2)
    assert after.id != before.id
    assert after.partitions == before.partitions
