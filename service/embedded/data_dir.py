"""The data directory of an instance: its layout, its lock and what was generated for it.

lastseen.json      layout version, instance id, brokers, cluster id, ports
lock               held while an instance runs
instance.json      what runs where (`instance.py`)
jwt-secret         signs tokens, unless LASTSEEN_JWT_SECRET is set
postgres-password  of the roles `postgres` and `lastseen`
kafka-N/           one per broker        postgres/  the database cluster
logs/              one file a process    run/       pid files
"""

import base64
import fcntl
import json
import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.embedded.errors import DataDirError

LAYOUT = 1
STAMP = "lastseen.json"


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


@dataclass(slots=True)
class Stamp:
    """What stays the same over all starts of a data directory; `ports` are only what was had last."""

    layout: int = LAYOUT
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    brokers: int = 1
    cluster_id: str = field(default_factory=_cluster_id)
    ports: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DataDir:
    """An opened and locked data directory; `fresh` when this is its first start."""

    path: Path
    stamp: Stamp
    fresh: bool

    def secret(self, name: str, size: int = 32, given: str | None = None) -> str:
        """The secret kept in the file `name`: `given`, else the last one, else one made of `size` random bytes."""
        path = self.path / name
        if given:
            write_private(path, given)
        elif not path.exists():
            write_private(path, secrets.token_urlsafe(size))
        return path.read_text().strip()

    def folder(self, name: str, mode: int = 0o700) -> Path:
        """The folder `name`, made when it is missing."""
        path = self.path / name
        path.mkdir(mode=mode, exist_ok=True)
        return path

    def keep_ports(self, ports: list[int]) -> None:
        """Remembers `ports` for the next start."""
        self.stamp.ports = ports
        self.write_stamp()

    def write_stamp(self) -> None:
        """Writes the stamp in one step."""
        write_private(self.path / STAMP, json.dumps(asdict(self.stamp)))


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step with a file that only its owner can read."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def open_data_dir(path: Path, brokers: int | None = None) -> Iterator[DataDir]:
    """Opens `path` for one instance, making it when it is missing, and holds its lock.

    `brokers` is the number of Kafka brokers that was asked for, None for what the directory has (a new one: 1).
    Raises DataDirError when another instance holds it, it is not ours, or of another layout or size.
    """
    path = path.absolute()
    _make(path)
    with _locked(path):
        stamp = _read_stamp(path)
        fresh = stamp is None
        if stamp is None:
            stamp = Stamp(brokers=brokers or 1)
        elif brokers not in (None, stamp.brokers):
            raise DataDirError(
                f"The data directory {path} was made with {stamp.brokers} Kafka broker(s), not {brokers}: "
                f"leave out --brokers or choose another --data-dir."
            )
        data_dir = DataDir(path, stamp, fresh)
        data_dir.write_stamp()
        yield data_dir


def _make(path: Path) -> None:
    try:
        # As root, Postgres runs as another user, who has to pass through here to its own folder.
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        ours = {STAMP, "lock"}
        if not (path / STAMP).exists() and any(entry.name not in ours for entry in path.iterdir()):
            raise DataDirError(f"{path} is not a Lastseen data directory, and not empty: choose another --data-dir.")
    except OSError as error:
        raise DataDirError(
            f"The data directory {path} can't be used ({error.strerror}): choose another --data-dir."
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirError(
            f"The data directory {path} can't be written ({error.strerror}): choose another --data-dir."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirError(
                f"Another instance runs on the data directory {path}: stop it first or choose another --data-dir."
            ) from None
        yield
    finally:
        os.close(handle)


def _read_stamp(path: Path) -> Stamp | None:
    try:
        values = json.loads((path / STAMP).read_text())
        layout = values["layout"]
        if layout == LAYOUT:
            return Stamp(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataDirError(f"{path / STAMP} can't be read ({error}): choose another --data-dir.") from error
    raise DataDirError(
        f"The data directory {path} has layout {layout}, this Lastseen knows layout {LAYOUT}: "
        "use the version that made it or choose another --data-dir."
    )
