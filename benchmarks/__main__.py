"""`python -m benchmarks [NAME …] [--quick] [--pairs N] [--clients N] [--json FILE]`: run them and print one table."""

import argparse
import asyncio
import contextlib
import logging
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks import (
    against_peers,
    append,
    away,
    emitters,
    fan_in,
    fanout,
    hand_shakes,
    idle,
    latency,
    log_writer,
    nodes,
    replay,
    report,
    start_up,
    storm,
)
from benchmarks.measured import Row
from benchmarks.site import Site

BENCHMARKS: dict[str, Callable[[Site], Awaitable[list[Row]]]] = {
    # First, while no other server runs.
    "start-up": start_up.measure,
    "append": append.measure,
    "emitters": emitters.measure,
    "log_writer": log_writer.measure,
    "fan-in": fan_in.measure,
    "fanout": fanout.measure,
    "replay": replay.measure,
    "latency": latency.measure,
    "peers": against_peers.measure,
    "nodes": nodes.measure,
    "handshakes": hand_shakes.measure,
    "idle": idle.measure,
    "away": away.measure,
    "storm": storm.measure,
}
ONLY_BY_NAME = ("peers", "nodes", "handshakes", "idle", "away", "storm")
"""Those that take many minutes, or need what not every machine has."""
ALL = "all"
PAIRS = 5


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios of the hot paths to a limit.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}, or {ALL}; by default all but {', '.join(ONLY_BY_NAME)}",
    )
    parser.add_argument("--quick", action="store_true", help="once each and little of it: whether they run at all")
    parser.add_argument("--pairs", type=int, help=f"repetitions of each comparison (default {PAIRS}, quick 1)")
    parser.add_argument(
        "--clients",
        type=int,
        help="how many come in nodes, handshakes, idle and storm (default 1000, 4000, 10000, 10000)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there too; in a folder, a file for each benchmark"
    )
    arguments = parser.parse_args()
    names: list[str] = arguments.names or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]
    if ALL in names:
        names = list(BENCHMARKS)
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is named {', '.join(unknown)}: choose among {', '.join(BENCHMARKS)}")
    pairs: int = (1 if arguments.quick else PAIRS) if arguments.pairs is None else arguments.pairs
    if pairs < 1:
        parser.error(f"--pairs is at least 1, not {pairs}")
    if arguments.clients is not None and arguments.clients < 1:
        parser.error(f"--clients is at least 1, not {arguments.clients}")
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    _raise_open_files()
    on = report.machine()
    folder = arguments.json if arguments.json is not None and arguments.json.is_dir() else None
    rows = asyncio.run(_run(names, pairs=pairs, quick=arguments.quick, clients=arguments.clients, into=folder))
    report.show(rows, on)
    if arguments.json is not None and folder is None:
        report.write(arguments.json, rows, on)


async def _run(names: list[str], *, pairs: int, quick: bool, clients: int | None, into: Path | None) -> list[Row]:
    rows: list[Row] = []
    with _folder() as folder:
        async with Site(folder, pairs=pairs, quick=quick, clients=clients, tell=_tell) as site:
            for name in (name for name in BENCHMARKS if name in names):
                started, on = time.monotonic(), report.machine()
                found = await BENCHMARKS[name](site)
                rows += found
                if into is not None:
                    # At once: another may fail, hours later.
                    report.write(into / f"{name}.json", found, on)
                _tell(f"{name}: {time.monotonic() - started:.0f} s")
    return rows


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lastseen-benchmarks-"))
    # Under root Postgres is another user, who has to pass through here.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _raise_open_files() -> None:
    """As many open files as this process may have, for the sockets of a thousand subscribers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
