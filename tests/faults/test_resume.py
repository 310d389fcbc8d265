"""A program with 20 MB of output, and viewers of it that are killed at random: each has every byte, once."""

import asyncio
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.driven import Driven, ended, events_in, kill_when_grown, output_in
from tests.faults.output import expected

SEED, LINES, SECONDS = 7, 205_000, 12.0
KILLS = 5
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class Watched:
    """What the viewers of the task have written."""

    live: bytes
    """`tail --json` that was there before the task began."""
    late: bytes
    """`tail --json` once it had ended."""
    resumed: bytes
    """`tail --json`, killed again and again, and resumed after the position it had printed last."""
    saved: bytes
    """`tail --save F >> out`, killed again and again."""


@pytest.fixture(scope="module")
async def watched(driven: Driven, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Runs the task and all its viewers."""
    folder = tmp_path_factory.mktemp("viewers")
    seed = int.from_bytes(os.urandom(4))
    print(f"the viewers are killed by seed {seed}")
    live = await driven.start_into(folder / "live", "tail", "--json", "task:big")
    async with asyncio.TaskGroup() as viewers:
        resumed = viewers.create_task(_resume_by_position(driven, folder / "resumed", random.Random(seed)))
        saved = viewers.create_task(_resume_by_place(driven, folder / "saved", random.Random(seed + 1)))
        program = await driven.start_program("big", SEED, LINES, SECONDS)
        assert await ended(program, within=120) == 0
    assert await ended(live) == 0
    assert await ended(await driven.start_into(folder / "late", "tail", "--json", "task:big")) == 0
    return Watched((folder / "live").read_bytes(), (folder / "late").read_bytes(), resumed.result(), saved.result())


async def _resume_by_position(driven: Driven, file: Path, chance: random.Random) -> bytes:
    file.touch()
    after: tuple[str, ...] = ()
    for kill in range(KILLS + 1):
        tail = await driven.start_into(file, "tail", "--json", "task:big", *after)
        if kill == KILLS:
            assert await ended(tail, within=120) == 0
        else:
            assert await kill_when_grown(tail, file, chance.randrange(1, 4_000_000)), "killed before its end"
            whole = file.read_bytes().rpartition(b"\n")[0]
            os.truncate(file, len(whole) + 1 if whole else 0)
            after = ("--after", events_in(whole.rpartition(b"\n")[2])[0]["position"]) if whole else ()
    return file.read_bytes()


async def _resume_by_place(driven: Driven, file: Path, chance: random.Random) -> bytes:
    file.touch()
    arguments = ("task:big", "--save", str(file.with_suffix(".place")))
    for _ in range(KILLS):
        tail = await driven.start_into(file, "tail", *arguments)
        assert await kill_when_grown(tail, file, chance.randrange(1, 3_000_000)), "killed before its end"
    assert await ended(await driven.start_into(file, "tail", *arguments), within=120) == 0
    return file.read_bytes()


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """What the program writes, worked out without Lastseen."""
    written = expected(SEED, LINES)
    assert sum(map(len, written.values())) >= 20_000_000
    assert sum(data.count(b"\n") for data in written.values()) >= 200_000
    assert b"\0" in written["stdout"]
    with pytest.raises(UnicodeDecodeError):
        written["stdout"].decode()
    return written


@pytest.mark.parametrize("viewer", ["live", "late", "resumed"])
def test_the_events_carry_the_program_s_own_bytes(watched: Watched, written: dict[str, bytes], viewer: str) -> None:
    events = events_in(getattr(watched, viewer))
    for stream in STREAMS:
        assert (output_in(events, stream) == written[stream]) is True, stream
    places = [(event["partition"], event["offset"]) for event in events]
    assert len(set(places)) == len(events) == len({event["id"] for event in events})
    assert places == sorted(places)
    assert (events[0]["type"], events[-1]["type"]) == ("task_started", "task_completed")


def test_every_viewer_has_the_same_events(watched: Watched) -> None:
    live, late, resumed = (
        [(event["id"], event["offset"], event["data"]) for event in events_in(lines)]
        for lines in (watched.live, watched.late, watched.resumed)
    )
    assert (live == late) is True
    assert (live == resumed) is True


def test_a_file_that_a_killed_viewer_appended_to_is_the_output_in_the_order_of_the_log(watched: Watched) -> None:
    assert (watched.saved == output_in(events_in(watched.live), *STREAMS)) is True
