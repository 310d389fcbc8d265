"""A client of the plain protocol, which knows nothing of positions, against two nodes of which one keeps restarting."""

import os
import random

from tests.faults.plain_client import Trial, two_nodes
from tests.nodes import new_ground


async def test_it_meets_nothing_that_it_can_t_explain_and_misses_no_message(kafka: str, postgres_url: str) -> None:
    seed = int(os.environ.get("LASTSEEN_SEED", random.SystemRandom().randrange(10**6)))
    print(f"LASTSEEN_SEED={seed}")
    async with (
        new_ground(kafka, postgres_url) as ground,
        ground.log_writer(),
        ground.projections(),
        two_nodes(ground) as nodes,
    ):
        trial = Trial(ground, nodes, 8.0, 0.1, random.Random(seed))
        clients = await trial.run()
        assert trial.restarts >= 2
        for client in clients:
            assert client.unexplained == []
            assert client.notified.keys() == set(range(trial.published)), "what came while it was away came later"
            assert client.counts["connected"] >= 2 or client.name == "cem"
            assert client.counts["input_result applied"] > 0
        assert "Traceback" not in nodes[0].said + nodes[1].said
