"""A program with 20 MB of output, and viewers of it that are killed at random: each has every byte, once."""

import asyncio
import os
import random
from dataclasses import dataclass

import pytest

from tests.driven import Driven, Shown, ended, events_in, kill_when_grown, output_in
from tests.output_program import expected

SEED, LINES, SECONDS = 7, 205_000, 6.0
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
    await driven.until_well()
    folder = tmp_path_factory.mktemp("viewers")
    seed = int.from_bytes(os.urandom(4))
    print(f"the viewers are killed by seed {seed}")
    live, late, resumed, saved = (Shown(folder / name) for name in ("live", "late", "resumed", "saved"))
    watching = await driven.start_into(live, "tail", "--json", "task:big")
    async with asyncio.TaskGroup() as viewers:
        viewers.create_task(_resume_by_position(driven, resumed, random.Random(seed)))
        viewers.create_task(_resume_by_place(driven, saved, random.Random(seed + 1)))
        program = await driven.start_program("big", SEED, LINES, SECONDS)
        assert await ended(program, within=120) == 0
    assert await ended(watching) == 0
    assert await ended(await driven.start_into(late, "tail", "--json", "task:big")) == 0
    return Watched(live.content, late.content, resumed.content, saved.content)


async def _resume_by_position(driven: Driven, shown: Shown, chance: random.Random) -> None:
    after: tuple[str, ...] = ()
    for kills in range(KILLS):
        tail = await driven.start_into(shown, "tail", "--json", "task:big", *after)
        if not await kill_when_grown(tail, shown, chance.randrange(1, 4_000_000)):
            assert kills, "a viewer that had to be killed was not"
            return  # between two looks at its file it has caught up with all that there was
        shown.keep_whole_lines()
        if events := events_in(shown.content):
            after = ("--after", events[-1]["position"])
    assert await ended(await driven.start_into(shown, "tail", "--json", "task:big", *after), within=120) == 0


async def _resume_by_place(driven: Driven, shown: Shown, chance: random.Random) -> None:
    arguments = ("task:big", "--save", str(shown.file.with_suffix(".place")))
    for kills in range(KILLS):
        tail = await driven.start_into(shown, "tail", *arguments)
        if not await kill_when_grown(tail, shown, chance.randrange(1, 3_000_000)):
            assert kills, "a viewer that had to be killed was not"
            return
    assert await ended(await driven.start_into(shown, "tail", *arguments), within=120) == 0


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
