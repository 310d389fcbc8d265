"""Settings and addresses that can't be used are said in a sentence, which quotes no secret."""

import subprocess
import sys

import pytest

from service.addresses import bootstrap_servers, database_address
from service.domain.errors import BadRequest, LastseenError
from service.settings import read_settings


@pytest.mark.parametrize("address", ["kafka:9092", "127.0.0.1:1", "[::1]:9092", "kafka", "a-1.b_c:65535"])
def test_addresses_of_kafka(address: str) -> None:
    assert bootstrap_servers(address) == address
    assert bootstrap_servers(f"{address}, other:9092") == f"{address},other:9092"


@pytest.mark.parametrize(
    "address", ["", "foo:bar", "[::1", "::1", "kafka:", ":9092", "kafka:0", "kafka:65536", "kafka://x:1", "a:1,,b:1"]
)
def test_what_is_no_address_of_kafka(address: str) -> None:
    with pytest.raises(BadRequest, match="has to look like host:9092"):
        bootstrap_servers(address)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p@ss:w0rd@host:5432/name",
        "postgres://host/name",
        "postgresql+asyncpg://[::1]:5432/name",
        "postgresql://u@a:1,b:2/name?target_session_attrs=read-write",
        "postgresql:///name?host=/run/postgresql",
    ],
)
def test_addresses_of_the_database(url: str) -> None:
    assert database_address(url) == url


@pytest.mark.parametrize(
    "url", ["", "host/name", "mysql://h/n", "postgresql://u:hidden@127.0.0.1:abc/n", "postgresql://u:hidden@[::1/n"]
)
def test_what_is_no_address_of_the_database(url: str) -> None:
    with pytest.raises(BadRequest, match="must look like postgresql://user:password@host:port/name") as error:
        database_address(url)
    assert "hidden" not in str(error.value)


WRONG = [
    ("LASTSEEN_LOOK_BACK", "x", "LASTSEEN_LOOK_BACK: Input should be a valid integer"),
    ("LASTSEEN_PARTITIONS", "0", "LASTSEEN_PARTITIONS: Input should be greater than or equal to 1"),
    ("LASTSEEN_KAFKA", "foo:bar", "LASTSEEN_KAFKA: Kafka's address has to look like host:9092"),
    ("LASTSEEN_DATABASE_URL", "postgresql://x:hidden@h:abc/z", "LASTSEEN_DATABASE_URL: the database"),
]


@pytest.mark.parametrize(("variable", "value", "said"), WRONG)
def test_a_setting_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(LastseenError) as error:
        read_settings()
    assert str(error.value).startswith(said)
    assert "hidden" not in str(error.value)


def test_all_that_is_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value, _ in WRONG:
        monkeypatch.setenv(variable, value)
    with pytest.raises(LastseenError) as error:
        read_settings()
    assert all(said in str(error.value) for _, _, said in WRONG)


@pytest.mark.parametrize("module", ["service.main", "consumers.log_writer"])
def test_a_process_says_so_and_ends(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setenv("LASTSEEN_LOOK_BACK", "x")
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "LASTSEEN_LOOK_BACK: Input should be a valid integer" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
