"""The data directory: whose it is, which layout it has, and what it keeps."""

import json
import stat
from pathlib import Path

import pytest

from service.embedded.data_dir import open_data_dir
from service.embedded.errors import DataDirError


def test_it_keeps_its_values_over_starts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    with open_data_dir(path) as first:
        assert first.fresh
        secret = first.secret("jwt-secret")
        first.keep_ports([20001, 20002])
    with open_data_dir(path) as second:
        assert not second.fresh
        assert second.secret("jwt-secret") == secret
        assert second.secret("other", given="g" * 32) == second.secret("other") == "g" * 32, "tools find it"
        assert second.stamp == first.stamp
        assert second.stamp.ports == [20001, 20002]
    assert len(secret) >= 32
    assert stat.S_IMODE((path / "jwt-secret").stat().st_mode) == 0o600


def test_two_instances_do_not_share_it(tmp_path: Path) -> None:
    with open_data_dir(tmp_path / "data"):  # noqa: SIM117 (the first one is no part of what is refused)
        with (
            pytest.raises(DataDirError, match="Another instance runs on the data directory"),
            open_data_dir(tmp_path / "data"),
        ):
            pass
    with open_data_dir(tmp_path / "data"):
        pass


def test_a_folder_of_somebody_elses_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(DataDirError, match="not a Lastseen data directory, and not empty"), open_data_dir(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("layout", [0, 2, "1", None])
def test_another_layout_is_refused(tmp_path: Path, layout: object) -> None:
    (tmp_path / "lastseen.json").write_text(json.dumps({"layout": layout, "anything": True}))
    with (
        pytest.raises(DataDirError, match=f"has layout {layout}, this Lastseen knows layout 1"),
        open_data_dir(tmp_path),
    ):
        pass


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layout": 1, "surprise": 2}'])
def test_a_broken_stamp_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "lastseen.json").write_text(content)
    with pytest.raises(DataDirError, match=r"lastseen\.json can't be read"), open_data_dir(tmp_path):
        pass


def test_the_number_of_brokers_stays(tmp_path: Path) -> None:
    with open_data_dir(tmp_path / "data", 3):
        pass
    with open_data_dir(tmp_path / "data") as again:
        assert again.stamp.brokers == 3
    with (
        pytest.raises(DataDirError, match=r"made with 3 Kafka broker\(s\), not 1"),
        open_data_dir(tmp_path / "data", 1),
    ):
        pass


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(DataDirError, match="can't be used"), open_data_dir(tmp_path / "data"):
        pass
