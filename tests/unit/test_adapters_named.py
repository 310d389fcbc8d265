"""Adapters by name: the built-in ones, and what entry points of a deployment's packages make."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lastseen.chunks import Chunk
from pydantic import JsonValue

from service.domain.errors import BadRequest
from service.running.adapter import Said
from service.running.adapters.named import BUILT_IN, adapter_named

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
MODULE = """
from service.running.adapters.plain import PlainAdapter


class Shouting(PlainAdapter):
    def input(self, text):
        return text.upper().encode()


class Half:
    def command(self, argv):
        return argv

    def output(self, chunk):
        return [(chunk, {})]


def broken():
    raise RuntimeError("no licence")
"""
ENTRY_POINTS = """
[lastseen.adapters]
shouting = adapters_of_a_deployment:Shouting
half = adapters_of_a_deployment:Half
broken = adapters_of_a_deployment:broken
gone = adapters_of_a_deployment:nothing
away = a_module_that_is_not_there:Adapter
plain = adapters_of_a_deployment:broken
deploy = our_adapters:Deploy
backup = our_adapters:backup
"""


@pytest.fixture(scope="module", autouse=True)
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package that is installed, as far as entry points go."""
    folder = tmp_path_factory.mktemp("deployment")
    (folder / "adapters_of_a_deployment.py").write_text(MODULE)
    shown = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text().partition("## Adapters")[2], re.DOTALL)
    (folder / "our_adapters.py").write_text("\n".join(shown))
    info = Path(folder / "a_deployment-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-deployment\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_comes_with_lastseen_is_made_anew_for_each_task(name: str) -> None:
    adapter = adapter_named(name)
    assert adapter is not adapter_named(name)
    assert list(adapter.output(Chunk("stdout", 0, b"hi\n"))) == [(Chunk("stdout", 0, b"hi\n"), {})]
    assert (adapter.input_ends, list(adapter.open_confirmations)) == (False, [])
    assert adapter.confirm("c", approved=True) is None


def test_a_deployments_own() -> None:
    assert adapter_named("shouting").input("hi\n") == b"HI\n"


def test_who_asks_for_another_is_told_which_there_are() -> None:
    with pytest.raises(BadRequest) as raised:
        adapter_named("clod")
    there = "away, backup, broken, claude, deploy, gone, half, plain, progress, shouting"
    assert str(raised.value) == f"there is no adapter clod; there are {there}"
    assert (raised.value.code, raised.value.field) == ("unknown_adapter", "adapter")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "half",
            r"\(adapters_of_a_deployment:Half\) lacks finish, input, confirm, needs_input, opening, input_ends, "
            r"open_confirmations of the port Adapter \(service/running/adapter.py\)",
        ),
        ("broken", r"failed: RuntimeError: no licence \(.*adapters_of_a_deployment.py, line 19\)"),
        ("gone", r"failed: AttributeError: .*nothing"),
        ("away", r"failed: ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
    ],
)
def test_a_broken_one_is_said_to_be(name: str, problem: str) -> None:
    with pytest.raises(BadRequest, match=rf"^the adapter {name} .*{problem}") as raised:
        adapter_named(name)
    assert raised.value.code == "broken_adapter"


def test_the_adapter_that_the_documentation_shows() -> None:
    deploy = adapter_named("deploy")
    step, asking = Chunk("stdout", 0, b"STEP build\n"), Chunk("stdout", 11, b"CONTINUE? ")
    assert list(deploy.output(step)) == [(step, {"kind": "step"})]
    question: dict[str, JsonValue] = {"confirmation_id": "continue-1", "question": "Continue?"}
    assert list(deploy.output(asking)) == [(asking, {}), Said("task_confirmation_required", question)]
    assert list(deploy.open_confirmations) == ["continue-1"]
    assert deploy.confirm("continue-1", approved=False) == b"n\n"
    assert deploy.confirm("continue-1", approved=False) is None


def test_the_patterns_that_the_documentation_shows() -> None:
    chunk = Chunk("stdout", 0, b"copied 1 of 4 files\n")
    assert list(adapter_named("backup").output(chunk)) == [(chunk, {}), Said("task_progress_update", {"percent": 25})]
