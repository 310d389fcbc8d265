"""Only the jars that the lock names get in."""

import hashlib
import threading
from pathlib import Path

import pytest

from service.embedded import jars
from service.embedded.errors import FetchError
from service.embedded.jars import Jar, Stopped

CONTENT = b"content of a jar"


def jar(content: bytes = CONTENT) -> Jar:
    return Jar("org.example", "thing", "1.0", hashlib.sha256(content).hexdigest(), len(content))


def put(repository: Path, content: bytes) -> Path:
    """Lays a jar into a local repository, from which jgo takes it without asking the network."""
    path = repository / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    return tmp_path / "m2"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends everything to a port of this machine where nobody listens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_right_jar_enters_the_cache(tmp_path: Path, repository: Path) -> None:
    put(repository, CONTENT)
    told: list[tuple[int, int]] = []
    (path,) = jars.class_path(tmp_path / "cache", [jar()], lambda had, total: told.append((had, total)))
    assert path.read_bytes() == CONTENT
    assert told == [(0, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    assert [entry.name for entry in path.parent.iterdir()] == ["thing-1.0.jar"], "nothing else is left there"


def test_a_wrong_jar_is_refused_and_its_file_named(tmp_path: Path, repository: Path) -> None:
    source = put(repository, b"something else")
    with pytest.raises(FetchError, match=r"org\.example:thing:1\.0 is not the one that the lock names") as refused:
        jars.class_path(tmp_path / "cache", [jar()])
    assert str(source) in str(refused.value)
    assert jar().sha256 in str(refused.value)
    assert list((tmp_path / "cache" / "jars").iterdir()) == []


def test_a_cached_jar_that_was_changed_is_replaced(tmp_path: Path, repository: Path) -> None:
    put(repository, CONTENT)
    (path,) = jars.class_path(tmp_path / "cache", [jar()])
    path.write_bytes(b"changed by somebody")
    jars.class_path(tmp_path / "cache", [jar()])
    assert path.read_bytes() == CONTENT


def test_a_cached_jar_needs_no_network(tmp_path: Path, repository: Path, no_network: None) -> None:
    source = put(repository, CONTENT)
    jars.class_path(tmp_path / "cache", [jar()])
    source.unlink()
    assert jars.class_path(tmp_path / "cache", [jar()])


def test_without_a_network_one_sentence_says_so(tmp_path: Path, repository: Path, no_network: None) -> None:
    with pytest.raises(FetchError, match=r"org.example:thing:1.0 could not be fetched .*: is there a network\?"):
        jars.class_path(tmp_path / "cache", [jar()])


def test_told_to_stop_it_fetches_no_more(tmp_path: Path, repository: Path) -> None:
    put(repository, CONTENT)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        jars.class_path(tmp_path / "cache", [jar()], stop=stop)
    assert list((tmp_path / "cache" / "jars").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="LASTSEEN_CACHE_DIR"):
        jars.class_path(tmp_path / "file", [jar()])


def test_the_committed_lock_names_each_jar_once_with_its_sha256() -> None:
    locked = jars.read_lock()
    assert {"kafka_2.13", "kafka-clients", "slf4j-simple"} <= {one.artifact for one in locked}
    assert len({one.file_name for one in locked}) == len(locked)
    assert all(len(one.sha256) == 64 and one.size > 0 for one in locked)
