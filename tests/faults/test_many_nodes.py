"""Three nodes, one of them killed, and clients whose rights come and go: a checker that knows the log finds nothing."""

from random import Random

from tests.checker import Checker
from tests.faults.many_nodes import LOOK_BACK, play
from tests.faults.town import Size
from tests.nodes import new_ground
from tests.transcript import Heard

SIZE = Size(nodes=3, clients=30, projects=8, seconds=5.0, events_per_second=120, kills=1)


async def test_everybody_gets_what_the_log_owes_him_and_nothing_else(kafka: str, postgres_url: str) -> None:
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    async with new_ground(kafka, postgres_url) as ground:
        played = await play(ground, SIZE, seed)
        checker = Checker(look_back=LOOK_BACK, trust_claims=False)
        await checker.read(ground.kafka, ground.topic)
    verdict = checker.check(played.transcripts, played.followed, played.head)
    print(played, verdict)
    assert not verdict.wrong, verdict.wrong[:5]
    assert not played.tracebacks, played.tracebacks[0]
    assert played.kills["SIGKILL"] == 1
    for what in ("live", "replayed", "caught_up", "unsubscribed", "error access_denied", "got by those who resume"):
        assert verdict.seen[what], f"no {what}: a run that is too tame shows nothing"

    # And would it have seen anything? An event less, and one twice, on one connection.
    lines = next(t.lines for t in played.transcripts if sum(map(_is_live, t.lines)) > 5 and t.close is None)
    at = [index for index, line in enumerate(lines) if _is_live(line)][2]
    taken = lines.pop(at)
    assert checker.check(played.transcripts, [], played.head).wrong
    lines[at:at] = [taken, taken]
    assert checker.check(played.transcripts, [], played.head).wrong


def _is_live(line: object) -> bool:
    return isinstance(line, Heard) and "offset" in line.message and "replay" not in line.message
