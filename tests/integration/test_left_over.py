"""What a conversation leaves in a node: nothing that waits for the garbage collector."""

from tests.nodes import new_ground, started, token
from tests.waiting import until

ENDED = 40


async def test_a_conversation_leaves_nothing_behind(kafka: str, postgres_url: str) -> None:
    settings = {"extensions": '["tests.counting_objects:extend"]'}
    async with new_ground(kafka, postgres_url) as ground, ground.node(**settings) as node:
        await node.publish(started("t", project_id="p", user_id="ann"))
        async with node.client(token("ann", role="admin")) as watching:
            await watching.begin()
            before = (await watching.ask({"type": "objects"}))["objects"]
            for number in range(ENDED):
                async with node.client(token("bob", role="admin"), project_id="p") as client:
                    await client.begin()
                    if number % 2:
                        await client.ask({"type": "subscribe", "channel": "task:t", "after": "earliest"})
                        await client.hear("caught_up", channels=["task:t"])

            more: dict[str, int] = {}

            async def has_gone() -> bool:
                now = (await watching.ask({"type": "objects"}))["objects"]
                more.clear()
                more.update({name: count - before.get(name, 0) for name, count in now.items()})
                return more.get("Connection", 0) < ENDED // 2

            await until(has_gone, what=f"the end of {ENDED} conversations")
            # One or two may be ending.
            assert {name for name, count in more.items() if count >= ENDED // 2} <= {"Record"}, more
