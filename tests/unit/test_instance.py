"""`instance.json` as tools find it."""

import json
import stat
from pathlib import Path

import pytest

from service.embedded import instance
from service.embedded.errors import DataDirError
from service.embedded.instance import Instance

SOME = Instance(
    url="http://127.0.0.1:8080",
    nodes=["http://127.0.0.1:8080"],
    kafka="127.0.0.1:9092",
    topic="events",
    database_url="postgresql://lastseen:secret@127.0.0.1:5432/lastseen",
    epoch="k3f9",
    processes={"supervisor": 1, "node-1": 2},
)


def test_it_holds_what_was_written_under_the_agreed_names(tmp_path: Path) -> None:
    SOME.write(tmp_path)
    written = json.loads((tmp_path / "instance.json").read_text())
    assert set(written) == {"url", "nodes", "kafka", "topic", "database_url", "epoch", "processes"}
    assert instance.read(tmp_path) == SOME


def test_only_its_owner_can_read_it_even_when_it_replaces_a_readable_one(tmp_path: Path) -> None:
    path = tmp_path / "instance.json"
    path.write_text("{}")
    path.chmod(0o644)
    SOME.write(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["instance.json"], "no temporary file is left"


def test_a_missing_one_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match="start one with `lastseen up`"):
        instance.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "x"}', '{"surprise": 1}'])
def test_a_broken_one_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "instance.json").write_text(content)
    with pytest.raises(DataDirError, match=r"instance\.json can't be read"):
        instance.read(tmp_path)
