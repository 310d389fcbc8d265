"""Several nodes, many clients, projects whose members come and go, nodes that are killed: nobody misses anything.

`python -m tests.faults.many_nodes --nodes 3 --clients 300 --projects 50 --seconds 120` runs it on servers of its own.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from service.adapters.kafka.log import open_log
from service.embedded.data_dir import open_data_dir
from service.embedded.stack import running
from tests.checker import Checker, Followed
from tests.faults.many_clients import ResumingClient
from tests.faults.town import Size, Town
from tests.nodes import Ground, new_ground
from tests.transcript import Transcript
from tests.waiting import until

LOOK_BACK = 10_000
SETTINGS = {
    "heartbeat_seconds": 1,
    "heartbeat_timeout_seconds": 30,
    # So little that clients who were away need Postgres and Kafka, too.
    "window_bytes": 1_000_000,
    "window_offsets": 100,
    "presence_grace_seconds": 1,
}


@dataclass
class Played:
    """What everybody said and heard, and had in the end, when the log had come to `head`."""

    tracebacks: list[str]
    """From the nodes' logs."""
    transcripts: list[Transcript]
    followed: list[Followed]
    head: dict[int, int]
    cuts: int
    kills: Counter[str]
    figures: Counter[str]
    rest_seconds: float

    def __str__(self) -> str:
        figures = ", ".join(f"{what} {times}" for what, times in sorted(self.figures.items()))
        return (
            f"{figures}; {len(self.transcripts)} connections, {self.cuts} cut by clients, nodes ended: "
            f"{dict(self.kills)}; at rest {self.rest_seconds:.1f} s after the last event"
        )


async def play(ground: Ground, size: Size, seed: int) -> Played:
    """Play it on `ground`. Raises AssertionError where it does not come to rest."""
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        starting = [stack.enter_async_context(ground.node(f"node-{n}", **SETTINGS)) for n in range(1, size.nodes + 1)]
        town = Town(size, Random(seed), list(await asyncio.gather(*starting)))
        await stack.enter_async_context(town.publisher)
        await town.settle()
        async with asyncio.TaskGroup() as group:
            conversing = [group.create_task(client.run()) for client in town.clients]
            producing = [group.create_task(town.produce(town.random.random())) for _ in range(3)]
            trouble = group.create_task(town.trouble())
            await asyncio.sleep(size.seconds)
            await trouble
            for task in producing:
                task.cancel()
            await asyncio.wait(producing)
            began = clock()
            head = await _come_to_rest(ground, town)
            rest = clock() - began
            town.over = True
            for task in conversing:
                task.cancel()
        logs = [node.said for node in town.nodes]
    return Played(
        tracebacks=[log[max(0, log.index("Traceback") - 300) :] for log in logs if "Traceback" in log],
        transcripts=[transcript for client in town.clients for transcript in client.transcripts],
        followed=[client.followed for client in town.clients if isinstance(client, ResumingClient)],
        head=head,
        cuts=sum(client.cuts for client in town.clients),
        kills=town.kills,
        figures=town.figures,
        rest_seconds=rest,
    )


async def _come_to_rest(ground: Ground, town: Town) -> dict[int, int]:
    """Wait until everybody is connected and has all that the log holds now; how far that is."""
    town.ending.set()
    await until(lambda: all(client.is_open for client in town.clients), timeout=60, what="everybody connected")
    async with open_log(ground.kafka, ground.topic) as log:
        head = {partition: held.next for partition, held in (await log.bounds()).items()}

    def is_done() -> bool:
        return all(client.has_all(head) for client in town.clients)

    await until(is_done, timeout=90, what="everybody having everything")
    for client in town.clients:
        client.want_all_again()
    await until(is_done, timeout=90, what="everybody having everything that he may have again")
    return head


class _Quiet:
    def tell(self, line: str) -> None:
        print(line, file=sys.stderr)

    def fetched(self, had: int, total: int) -> None:
        pass


def _open_folder() -> Path:
    """One that other users may pass through, as Postgres has to under root."""
    folder = Path(tempfile.mkdtemp(prefix="lastseen-many-"))
    folder.chmod(0o711)
    return folder


@asynccontextmanager
async def own_ground(partitions: int = 8) -> AsyncIterator[Ground]:
    """A Kafka and a Postgres of their own, gone afterwards."""
    folder = _open_folder()
    try:
        with open_data_dir(folder / "servers") as data_dir:
            async with (
                running(data_dir, progress=_Quiet(), durable=False) as stack,
                new_ground(stack.kafka, stack.admin_url, partitions) as ground,
            ):
                yield ground
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--projects", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--events", type=float, default=100, help="published a second")
    parser.add_argument("--kills", type=int, default=4, help="how often a node is ended and started again")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    size = Size(given.nodes, given.clients, given.projects, given.seconds, given.events, given.kills)
    async with own_ground() as ground:
        played = await play(ground, size, given.seed)
        checker = Checker(look_back=LOOK_BACK, trust_claims=False)
        await checker.read(ground.kafka, ground.topic)
    verdict = checker.check(played.transcripts, played.followed, played.head)
    print(f"seed {given.seed}, {size}\n{played}\n{verdict}")
    for problem, times in Counter(verdict.wrong).most_common(20):
        print(f"WRONG ({times}): {problem}")
    print(*played.tracebacks, sep="\n")
    return 1 if verdict.wrong or played.tracebacks else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
