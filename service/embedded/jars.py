"""Kafka's jars: fetched once through jgo, each checked against the committed lock.

The lock (`jars.lock.json`, made by `lock_jars.py`) names every jar by group, artifact, version and sha256, in
class path order. A jar enters the cache only when its sha256 was right, and is checked again at every start.
"""

import errno
import hashlib
import json
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.embedded.errors import DataDirError, FetchError

PARALLEL_DOWNLOADS = 8
LOCK = Path(__file__).with_name("jars.lock.json")

Progress = Callable[[int, int], None]
"""Called with (bytes had, bytes in all), from any thread."""

Count = Callable[[int], None]
"""Called with the size of each piece that was fetched, in bytes."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar; `size` in bytes, `sha256` in hex."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The locked jars, in class path order."""
    return [
        Jar(jar["group"], jar["artifact"], jar["version"], jar["sha256"], jar["bytes"])
        for jar in json.loads(path.read_text())["jars"]
    ]


def default_cache() -> Path:
    """Where fetched jars are kept, shared by all data directories of a user."""
    if chosen := os.environ.get("LASTSEEN_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lastseen"


class Stopped(FetchError):
    """The fetching was told to stop before it was done."""


def class_path(
    cache: Path,
    jars: list[Jar],
    progress: Progress = lambda _had, _total: None,
    stop: threading.Event | None = None,
) -> list[Path]:
    """Paths of all `jars`, fetching what `cache` does not hold. Blocks: call it in a thread; `stop` ends it early.

    Raises FetchError when a jar can't be had or is not the locked one.
    """
    folder = cache / "jars"
    _make_folder(folder)
    missing = [jar for jar in jars if not _is_right(folder / jar.file_name, jar)]
    if missing:
        total = sum(jar.size for jar in jars)
        had = total - sum(jar.size for jar in missing)
        _fetch_all(missing, folder, _Count(had, total, progress, stop or threading.Event()))
    return [folder / jar.file_name for jar in jars]


class _Count:
    """Bytes had by all threads together; where each of them learns that it is to stop."""

    def __init__(self, had: int, total: int, progress: Progress, stop: threading.Event) -> None:
        self._had = had
        self._total = total
        self._progress = progress
        self._stop = stop
        self._lock = threading.Lock()
        self.add(0)

    def add(self, size: int) -> None:
        """`size` bytes more are there. Raises Stopped."""
        if self._stop.is_set():
            raise Stopped("Fetching Kafka was stopped.")
        with self._lock:
            self._had += size
            self._progress(self._had, self._total)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"The cache folder {folder} can't be made ({error.strerror}): set LASTSEEN_CACHE_DIR to one that can."
        ) from error


def _is_right(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _fetch_all(missing: list[Jar], folder: Path, count: _Count) -> None:
    def fetch(jar: Jar) -> None:
        with _staging(folder) as staging:
            _fetch(jar, staging, folder, count)

    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS, thread_name_prefix="fetch-jars")
    try:
        for _ in pool.map(fetch, missing):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder on the cache's own disk, so that a checked jar moves into the cache in one step."""
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as staging:
        yield Path(staging)


def _fetch(jar: Jar, staging: Path, folder: Path, count: _Count) -> None:
    counted = 0

    @contextmanager
    def told(_file: str, _size: int) -> Iterator[Count]:
        def add(size: int) -> None:
            nonlocal counted
            counted += size
            count.add(size)

        yield add

    try:
        found = _resolve(jar, staging, told)
        candidate = staging / jar.file_name
        shutil.copyfile(found, candidate)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataDirError(f"The disk that holds {folder} is full: free some space and try again.") from error
        raise FetchError(
            f"Kafka's jar {jar} could not be fetched ({type(error).__name__}): "
            "is there a network? It is needed the first time only."
        ) from error
    except RuntimeError as error:
        raise FetchError(f"Kafka's jar {jar} could not be fetched: no repository has it.") from error
    if not _is_right(candidate, jar):
        where = f" Remove {found} if that is a broken copy." if not found.is_relative_to(staging) else ""
        raise FetchError(
            f"Kafka's jar {jar} is not the one that the lock names (sha256 {_digest(candidate)}, "
            f"should be {jar.sha256}): it is refused.{where}"
        )
    candidate.replace(folder / jar.file_name)
    count.add(jar.size - counted)


def _resolve(jar: Jar, staging: Path, told: Callable[[str, int], AbstractContextManager[Count]]) -> Path:
    # Imported here: jgo takes a third of a second, which a start with a filled cache can do without.
    from jgo.config import GlobalSettings
    from jgo.constants import default_maven_repo
    from jgo.maven import MavenContext, PythonResolver

    _trust_the_systems_certificates()
    context = MavenContext(
        resolver=PythonResolver(progress_callback=told),
        repo_cache=staging / "repository",
        local_repos=[default_maven_repo()],
    )
    context.remote_repos.update(GlobalSettings.load().repositories)
    found: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    return found


def _trust_the_systems_certificates() -> None:
    """Lets requests, which jgo fetches with, trust what this machine trusts, a company's own authority included."""
    if "REQUESTS_CA_BUNDLE" in os.environ or "CURL_CA_BUNDLE" in os.environ:
        return
    paths = ssl.get_default_verify_paths()
    folder = paths.capath if paths.capath and any(Path(paths.capath).glob("*.0")) else None
    if trusted := paths.cafile or folder:
        os.environ["REQUESTS_CA_BUNDLE"] = trusted


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
