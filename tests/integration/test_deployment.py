"""The deployment's own code of `docs/extending.md`, in a real node."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.nodes import NodeProcess, new_ground, output, started, token

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
AUDITOR = token("eve", role="auditor")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the document's example."""
    of_nodes = DOCUMENT.read_text().partition("## Adapters")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", of_nodes, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    folder = tmp_path_factory.mktemp("code")
    (folder / "deployment.py").write_text(blocks[0])
    return str(folder)


@pytest.fixture(scope="module")
async def node(kafka: str, postgres_url: str, code: str) -> AsyncIterator[NodeProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", code)
        settings = {"authority": "deployment:Auditors", "extensions": '["deployment:extend"]'}
        async with new_ground(kafka, postgres_url) as ground, ground.node(**settings) as node:
            await node.publish(started("t", project_id="p", user_id="ann"))
            yield node
            assert "Traceback" not in node.said


async def test_the_authority_decides(node: NodeProcess) -> None:
    async with node.client(AUDITOR, project_id="p") as eve, node.client(token("ann")) as ann:
        await eve.begin()
        await ann.begin()
        assert (await eve.ask({"type": "subscribe", "channel": "task:t", "after": "earliest"}))["subscribed"]
        await eve.hear("caught_up", channels=["task:t"])
        for channel in ("system", "user:ann", "task:", "nonsense"):
            assert (await eve.ask({"type": "subscribe", "channel": channel}))["code"] == "access_denied"
        assert (await eve.ask({"type": "task_cancel", "task_id": "t"}))["code"] == "access_denied"
        assert (await ann.ask({"type": "subscribe", "channel": "project:p"}))["code"] == "access_denied"
        assert (await ann.ask({"type": "subscribe", "channel": "task:t"}))["subscribed"], "the log decides the rest"
        await node.publish(output("t", 1, project_id="p"))
        assert (await eve.hear("task_output"))["data"] == {"number": 1}
        await eve.ask({"type": "authenticate", "token": token("eve")})
        ended = [(await eve.hear("unsubscribed"))["channel"] for _ in range(2)]
        assert sorted(ended) == ["project:p", "task:t"], "an auditor no more"


async def test_the_extension_answers(node: NodeProcess) -> None:
    async with node.client(token("ann")) as ann:
        await ann.begin()
        answer = await ann.ask({"type": "who_am_i", "ref": 7})
        assert answer == {"type": "who_am_i_result", "text": "You are ann", "ref": 7}
        answer = await ann.ask({"type": "who_am_i", "greeting": 1, "ref": 8})
        assert (answer["code"], answer["ref"]) == ("invalid_greeting", 8)
        assert (await ann.ask({"type": "who_are_you"}))["code"] == "unknown_type"
