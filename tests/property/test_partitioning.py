"""One partition for a key, whoever appends."""

from aiokafka.partitioner import DefaultPartitioner as AsyncDefault
from aiokafka.partitioner import murmur2 as async_murmur2
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner as SyncDefault
from kafka.partitioner.default import murmur2 as sync_murmur2
from lastseen.partitioning import Partitioner

from service.adapters.kafka.partitions import partition_of

IDS = st.text(alphabet="abcXYZ019._:@+=~|-", min_size=1, max_size=128).map(str.encode)
OURS = [Partitioner(async_murmur2), Partitioner(sync_murmur2)]


@given(IDS | st.binary(max_size=300), st.integers(1, 500))
def test_the_emitters_the_service_and_the_clients_agree(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    expected = partition_of(key, partitions)
    assert [ours.partition_of(key, partitions) for ours in OURS] == [expected, expected]
    # With a leader missing, too: a key has its partition, not one that is there.
    for available in (every, every[:1], []):
        assert AsyncDefault()(key, every, available) == expected
        assert SyncDefault()(key, every, available) == expected
