"""Projects with their members in the log, and a node that has read of them."""

import re
from collections.abc import Sequence
from typing import Final

import httpx
from lastseen.envelope import Event
from lastseen.names import Category
from lastseen.record import NewRecord, encode

from benchmarks.processes import NodeProcess
from benchmarks.waiting import until
from service.adapters.kafka.log import KafkaLog
from service.embedded.free_ports import HOST
from service.ports import Place

_BATCH: Final = 1_000
_SECONDS: Final = 900.0
_NEXT: Final = re.compile(r'lastseen_next_offset\{partition="(\d+)"\} (\S+)')


def user_of(number: int) -> str:
    """The user of a client."""
    return f"u{number:05d}"


def project_of(number: int, projects: int) -> str:
    """The project of a client's user."""
    return f"p{number % projects:03d}"


def members(clients: int, projects: int) -> list[NewRecord]:
    """Each client's user is a member of its project."""
    events = [
        Event(type="project_created", category=Category.PROJECT, project_id=project_of(number, projects))
        for number in range(projects)
    ]
    events += [
        Event(
            type="project_member_added",
            category=Category.PROJECT,
            project_id=project_of(number, projects),
            data={"user_id": user_of(number)},
        )
        for number in range(clients)
    ]
    return [encode(event) for event in events]


async def append_all(log: KafkaLog, records: Sequence[NewRecord]) -> Sequence[Place]:
    """Append in batches, in order."""
    return [place for at in range(0, len(records), _BATCH) for place in await log.append(records[at : at + _BATCH])]


async def until_read(log: KafkaLog, served: NodeProcess, every: float = 0.01) -> dict[int, int]:
    """Wait until the node has read all that Kafka holds now; per partition the last offset of that.

    It is asked `every` so many seconds, which takes a little of its CPU.
    """
    ends = {partition: held.next for partition, held in (await log.bounds()).items()}
    async with httpx.AsyncClient(trust_env=False) as http:

        async def has_read() -> bool:
            shown = (await http.get(f"http://{HOST}:{served.port}/metrics")).text
            read = {int(partition): float(offset) for partition, offset in _NEXT.findall(shown)}
            return all(read[partition] >= end for partition, end in ends.items())

        await until(has_read, _SECONDS, every)
    return {partition: end - 1 for partition, end in ends.items()}
