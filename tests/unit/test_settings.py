"""Settings and addresses that can't be used are said in a sentence, which quotes no secret."""

import subprocess
import sys

import pytest

from service.addresses import bootstrap_servers, database_address, is_loopback, key_set_address
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


@pytest.mark.parametrize(
    "url",
    ["https://issuer.example/keys", "https://issuer.example:8443/k?v=2", "http://127.0.0.1:9/k", "http://[::1]/k"],
)
def test_addresses_of_a_key_set(url: str) -> None:
    assert key_set_address(url) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://issuer.example/keys", "only loopback may have it"),
        ("http://localhost.example/keys", "only loopback may have it"),
        ("https://user:hidden@issuer.example/keys", "without a user or password"),
        ("issuer.example/hidden", "must look like https"),
        ("file:///etc/hidden", "must look like https"),
        ("https:///hidden", "must look like https"),
        ("https://[::1/hidden", "must look like https"),
        ("https://issuer.example/a hidden", "must look like https"),
    ],
)
def test_what_is_no_address_of_a_key_set(url: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as error:
        key_set_address(url)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "A.LocalHost."]
)
def test_what_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "10.0.0.1", "::2", "localhost.example", "127.0.0.1.example", "mylocalhost", "0.0.0.0"]
)
def test_what_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_lists_are_words_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "LASTSEEN_ALLOWED_ORIGINS", "https://App.example, http://127.0.0.1:3000,https://b.example:443,null"
    )
    monkeypatch.setenv("LASTSEEN_ALLOWED_HOSTS", "Node.example., [2001:DB8::1] ,")
    monkeypatch.setenv("LASTSEEN_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    settings = read_settings()
    assert settings.allowed_origins == ("https://app.example", "http://127.0.0.1:3000", "https://b.example", "null")
    assert settings.allowed_hosts == ("node.example", "2001:db8::1")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1/128")
    monkeypatch.setenv("LASTSEEN_ALLOWED_HOSTS", "")
    assert read_settings().allowed_hosts == ()


WRONG = [
    ("LASTSEEN_JWKS_URL", "http://issuer.example/hidden", "LASTSEEN_JWKS_URL: the address of the key set must look"),
    ("LASTSEEN_ALLOWED_ORIGINS", "app.example", "LASTSEEN_ALLOWED_ORIGINS: an origin looks like"),
    ("LASTSEEN_ALLOWED_HOSTS", "a.example:80", "LASTSEEN_ALLOWED_HOSTS: a host is a name or an address without a port"),
    ("LASTSEEN_TRUSTED_PROXIES", "10.0.0.1/8", "LASTSEEN_TRUSTED_PROXIES: an address or network looks like"),
    ("LASTSEEN_LOOK_BACK", "x", "LASTSEEN_LOOK_BACK: Input should be a valid integer"),
    ("LASTSEEN_PARTITIONS", "0", "LASTSEEN_PARTITIONS: Input should be greater than or equal to 1"),
    ("LASTSEEN_KAFKA", "foo:bar", "LASTSEEN_KAFKA: Kafka's address has to look like host:9092"),
    ("LASTSEEN_ALLOW", "git log *", 'LASTSEEN_ALLOW: has to look like ["git log *", …], a JSON array of texts'),
    ("LASTSEEN_REDACT", '["a", 1]', "LASTSEEN_REDACT: has to look like"),
    ("LASTSEEN_WORK_ROOT", "work", "LASTSEEN_WORK_ROOT: has to be an absolute path"),
    ("LASTSEEN_RUNNER_DRAIN", "later", "LASTSEEN_RUNNER_DRAIN: Input should be 'finish' or 'cancel'"),
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


@pytest.mark.parametrize("module", ["service.main", "consumers.log_writer", "consumers.runner"])
def test_a_process_says_so_and_ends(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setenv("LASTSEEN_LOOK_BACK", "x")
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "LASTSEEN_LOOK_BACK: Input should be a valid integer" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
