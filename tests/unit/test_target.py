"""Which service a command talks to."""

import asyncio
from pathlib import Path
from typing import Any

import click
import jwt
import pytest
from click.testing import CliRunner

from service.adapters.tokens import issue, verify
from service.cli.target import Target, find_target, target_options
from service.cli.token import token
from service.embedded.instance import Instance

SECRET = "s" * 40
TOKEN = issue(SECRET, "bob", "", [], [], 60, 0)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder as a running instance has it."""
    Instance("http://127.0.0.1:1234", [], "", "", "", "").write(tmp_path)
    (tmp_path / "jwt-secret").write_text(SECRET + "\n")
    return tmp_path


def target_of(*arguments: str, **environment: str) -> Target | str:
    """What a command with these options talks to, or what it says instead."""
    found: list[Target] = []

    @click.command()
    @target_options
    def command(**options: Any) -> None:
        found.append(find_target(**options))

    cleared: dict[str, str | None] = {
        "LASTSEEN_DATA_DIR": None,
        "LASTSEEN_URL": None,
        "LASTSEEN_TOKEN": None,
        "LASTSEEN_JWT_SECRET": None,
    }
    result = CliRunner().invoke(command, arguments, env=cleared | environment)
    return found[0] if result.exit_code == 0 else f"{result.exit_code} {result.output}"


def test_a_data_dir_has_the_address_and_what_makes_tokens(data_dir: Path) -> None:
    target = target_of("--data-dir", str(data_dir))
    assert isinstance(target, Target)
    assert target.url == "http://127.0.0.1:1234"
    assert callable(target.token)
    identity = verify(SECRET, asyncio.run(target.token()))  # type: ignore[arg-type]
    assert identity.is_admin
    assert identity.user_id == target.user == "local"
    assert isinstance(target_of(LASTSEEN_DATA_DIR=str(data_dir)), Target)


def test_an_address_needs_a_token_and_has_its_user(data_dir: Path) -> None:
    target = target_of("--url", "https://there", "--token", TOKEN)
    assert target == Target("https://there", TOKEN, "bob")
    assert target_of(LASTSEEN_URL="https://there", LASTSEEN_TOKEN=TOKEN) == target
    assert "--url needs --token" in str(target_of("--url", "https://there"))
    assert "no address of a service" in str(target_of("--url", "there", "--token", TOKEN))
    unnamed = jwt.encode({"sub": 3}, SECRET)
    assert target_of("--url", "https://there", "--token", unnamed) == Target("https://there", unnamed, None)


def test_a_data_dir_that_was_typed_beats_the_environment(data_dir: Path) -> None:
    target = target_of("--data-dir", str(data_dir), LASTSEEN_URL="https://there", LASTSEEN_TOKEN=TOKEN)
    assert isinstance(target, Target)
    assert target.url == "http://127.0.0.1:1234"


def test_where_nothing_runs_it_says_what_to_do(tmp_path: Path) -> None:
    assert "start one with `lastseen up`" in str(target_of("--data-dir", str(tmp_path)))
    (tmp_path / "instance.json").write_text("{")
    assert "can't be read" in str(target_of("--data-dir", str(tmp_path)))


@pytest.mark.parametrize(
    ("arguments", "environment", "claims"),
    [
        ([], {}, {}),
        ([], {"LASTSEEN_JWT_AUDIENCE": "a", "LASTSEEN_JWT_ISSUER": "i"}, {"aud": "a", "iss": "i"}),
        (["--audience", "b"], {"LASTSEEN_JWT_AUDIENCE": "a"}, {"aud": "b"}),
        (["--issuer", "j", "--audience", "b"], {}, {"aud": "b", "iss": "j"}),
        ([], {"LASTSEEN_JWT_AUDIENCE": ""}, {}),
    ],
)
def test_a_token_names_what_the_nodes_ask_for(
    data_dir: Path, arguments: list[str], environment: dict[str, str], claims: dict[str, str]
) -> None:
    unset: dict[str, str | None] = {
        "LASTSEEN_JWT_SECRET": None,
        "LASTSEEN_JWT_AUDIENCE": None,
        "LASTSEEN_JWT_ISSUER": None,
    }
    shown = CliRunner().invoke(token, ["--user", "u", "--data-dir", str(data_dir), *arguments], env=unset | environment)
    assert shown.exit_code == 0, shown.output
    given = jwt.decode(
        shown.output.strip(),
        SECRET,
        algorithms=["HS256"],
        audience=claims.get("aud"),
        options={"verify_aud": "aud" in claims},
    )
    assert {name: given[name] for name in ("aud", "iss") if name in given} == claims
