"""Which partition a key belongs to, for the service."""

from aiokafka.partitioner import murmur2
from lastseen.partitioning import Partitioner

partition_of = Partitioner(murmur2).partition_of
