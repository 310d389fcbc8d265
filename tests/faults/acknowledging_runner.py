"""A runner that writes down what Kafka has acknowledged to it, before anybody else in it knows.

`LASTSEEN_ACKNOWLEDGED=FILE python -m tests.faults.acknowledging_runner` is `python -m consumers.runner`, and appends a
line `PARTITION OFFSET ID` to the file for each record. A kill -9 loses no line: they are written without a buffer.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from lastseen.record import HEADER_ID, NewRecord

from consumers.runner import run_tasks
from consumers.runner_loop import run
from service.adapters.kafka.log import KafkaLog
from service.ports import Place


def acknowledged(file: Path) -> list[tuple[Place, str]]:
    """What all runners that share a file were told: places and ids."""
    lines = [line.split() for line in file.read_text().splitlines()]
    return [(Place(int(partition), int(offset)), id_) for partition, offset, id_ in lines]


def _main() -> None:
    fd = os.open(os.environ["LASTSEEN_ACKNOWLEDGED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    append = KafkaLog.append

    async def append_and_note(log: KafkaLog, records: Sequence[NewRecord]) -> Sequence[Place]:
        places = await append(log, records)
        lines = [
            b"%d %d %b\n" % (*place, dict(record.headers)[HEADER_ID])
            for place, record in zip(places, records, strict=True)
        ]
        os.write(fd, b"".join(lines))
        return places

    with patch.object(KafkaLog, "append", append_and_note):
        run("runner", run_tasks)


if __name__ == "__main__":
    _main()
