"""Which service a command talks to, and as whom: the options that all client commands share."""

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULT_DATA_DIR = Path(os.environ.get("LASTSEEN_DEFAULT_DATA_DIR") or ".lastseen")
"""Where an instance is looked for when nobody says; `./dev` names the clone's."""
LOCAL_USER = "local"
"""Whom the tools of a local instance act as, unless a token says otherwise."""
LOCAL_TTL = 3600

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a service, and what gives a token for it. `user` is whom the tokens name."""

    url: str
    token: str | Callable[[], Awaitable[str]]
    user: str | None


def data_dir_option(command: F) -> F:
    """`--data-dir D`, for a command about a local instance."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="LASTSEEN_DATA_DIR",
        default=DEFAULT_DATA_DIR,
        show_default=True,
        show_envvar=True,
        help="Of the instance that `lastseen up` runs: its address and a token are found there.",
    )(command)


def target_options(command: F) -> F:
    """`--data-dir D` or `--url U --token T`; the command gets them as data_dir, url and token."""
    for decorate in (
        click.option("--token", envvar="LASTSEEN_TOKEN", show_envvar=True, help="The JWT to use at --url."),
        click.option("--url", envvar="LASTSEEN_URL", show_envvar=True, help="A service elsewhere: http://HOST:PORT."),
        data_dir_option,
    ):
        command = decorate(command)
    return command


def find_target(data_dir: Path, url: str | None, token: str | None) -> Target:
    """The service that the options name: an address, or else the instance of a data directory.

    A `--data-dir` that was typed beats an address from the environment. Raises ClickException.
    """
    from click.core import ParameterSource
    from lastseen.connection import websocket_url

    context = click.get_current_context()
    typed = context.get_parameter_source("data_dir") is ParameterSource.COMMANDLINE
    if url is None or (typed and context.get_parameter_source("url") is ParameterSource.ENVIRONMENT):
        return _local(data_dir)
    if token is None:
        raise click.UsageError("--url needs --token (or LASTSEEN_TOKEN): a JWT for that service")
    try:
        websocket_url(url, {})
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    return Target(url, token, _user_of(token))


def _local(data_dir: Path) -> Target:
    from service.embedded.errors import DataDirError
    from service.embedded.instance import read

    try:
        instance = read(data_dir)
    except DataDirError as error:
        raise click.ClickException(str(error)) from error
    secret = read_secret(data_dir)

    async def token() -> str:
        return local_token(secret, LOCAL_USER, "admin", [], ["publish", "publish:rights"], LOCAL_TTL)

    return Target(instance.url, token, LOCAL_USER)


def local_token(
    secret: str,
    user: str,
    role: str,
    projects: list[str],
    scopes: list[str],
    ttl: int,
    *,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """A token for an instance whose secret we have. Raises ClickException.

    Audience and issuer, where they are not given, are those that the environment sets for its nodes.
    """
    from service.adapters.tokens import WeakSecret, issue

    audience = audience or os.environ.get("LASTSEEN_JWT_AUDIENCE") or None
    issuer = issuer or os.environ.get("LASTSEEN_JWT_ISSUER") or None
    try:
        return issue(secret, user, role, projects, scopes, ttl, int(time.time()), audience=audience, issuer=issuer)
    except WeakSecret as error:
        raise click.ClickException(str(error)) from error


def read_secret(data_dir: Path) -> str:
    """What signs the tokens of the instance, found as `lastseen up` finds it. Raises ClickException."""
    if secret := os.environ.get("LASTSEEN_JWT_SECRET"):
        return secret
    path = data_dir / "jwt-secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise click.ClickException(
            f"There is no instance in {data_dir}: start one with `lastseen up`, or set LASTSEEN_JWT_SECRET."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} can't be read ({error}).") from error


def _user_of(token: str) -> str | None:
    """Whom the token names; the service checks it, here it only fills in whose a task is."""
    import jwt

    try:
        user = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.InvalidTokenError:
        return None
    return user if isinstance(user, str) else None
