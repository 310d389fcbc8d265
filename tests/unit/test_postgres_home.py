"""Where Postgres is put when its user can't reach the obvious place."""

import os
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from service.embedded import postgres_home
from service.embedded.postgres import Postgres

SOMEBODY = (65533, 65533)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the folder of this service's own."""
    monkeypatch.setattr(postgres_home, "OUTSIDE", tmp_path / "outside")
    return tmp_path / "outside"


def test_as_itself_the_cluster_is_in_the_data_directory(tmp_path: Path, outside: Path) -> None:
    folder = postgres_home.cluster_folder(tmp_path, "id", None)
    assert folder == tmp_path / "postgres"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not outside.exists()


def test_below_a_private_folder_another_user_gets_one_outside(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chowned: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *arguments: chowned.append(arguments))  # only root may
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "data").mkdir(mode=0o711)
    before = stat.S_IMODE(private.stat().st_mode)
    folder = postgres_home.cluster_folder(private / "data", "id", SOMEBODY)
    assert folder == outside / "id"
    assert chowned == [(folder, *SOMEBODY)]
    assert stat.S_IMODE(private.stat().st_mode) == before


@pytest.mark.parametrize(
    ("mode", "user", "passes"),
    [
        (0o700, SOMEBODY, False),
        (0o711, SOMEBODY, True),
        (0o766, SOMEBODY, False),
        (0o710, (65533, os.getgid()), True),
        (0o701, (65533, os.getgid()), False),
        (0o100, (os.getuid(), 65533), True),
        (0o077, (os.getuid(), os.getgid()), False),
    ],
)
def test_who_may_pass_through_a_folder(tmp_path: Path, mode: int, user: tuple[int, int], passes: bool) -> None:
    entry = os.stat_result((stat.S_IFDIR | mode, 0, 0, 1, os.getuid(), os.getgid(), 0, 0, 0, 0))
    assert postgres_home._may_pass(entry, user) is passes


def test_the_copied_programs_run_and_everybody_may_read_them(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_home, "_reachable", lambda _folder, _user: False)
    old = os.umask(0o077)
    try:
        folder = postgres_home.programs(SOMEBODY)
    finally:
        os.umask(old)
    assert folder.is_relative_to(outside)
    said = subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    assert said.startswith("postgres (PostgreSQL) 18")
    copied = [path for path in next(outside.iterdir()).rglob("*") if not path.is_symlink()]
    assert len(copied) > 500
    wanted = {True: 0o755, False: 0o444}
    assert all(path.stat().st_mode & (bits := wanted[path.is_dir()]) == bits for path in copied)
    assert postgres_home.programs(SOMEBODY) == folder, "copied once"


def stale(folder: Path, pid: int) -> Path:
    """A cluster's folder whose pid file names `pid`."""
    (folder / "data").mkdir()
    (folder / "data" / "postmaster.pid").write_text(f"{pid}\n{folder}/data\n")
    postgres = Postgres(folder, folder, None, 1, "password", folder / "log")
    postgres._unblock()
    return folder / "data" / "postmaster.pid"


def test_a_pid_file_whose_number_is_another_programs_now_is_removed(tmp_path: Path) -> None:
    assert not stale(tmp_path, os.getpid()).exists()


def test_a_pid_file_of_nobody_is_left_to_postgres_to_judge(tmp_path: Path) -> None:
    nobody = next(pid for pid in range(3_000_000, 4_194_304) if not psutil.pid_exists(pid))
    assert stale(tmp_path, nobody).exists()
