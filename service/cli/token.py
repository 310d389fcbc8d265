"""`lastseen token`: a JWT for a local instance."""

from pathlib import Path

import click
from lastseen.channels import parse_channel

from service.cli.target import data_dir_option, local_token, read_secret


@click.command()
@click.option("--user", required=True, help="Whom the token names.")
@click.option("--role", default="", help="`admin` may read and publish everything.")
@click.option("--project", "projects", multiple=True, help="A project that the user may read; repeatable.")
@click.option("--scope", "scopes", multiple=True, help="Such as `publish`, `publish:rights`; repeatable.")
@click.option("--ttl", type=click.IntRange(1, 10 * 366 * 86400), default=3600, show_default=True, help="Seconds.")
@click.option("--audience", envvar="LASTSEEN_JWT_AUDIENCE", show_envvar=True, help="Whom the token is for (aud).")
@click.option("--issuer", envvar="LASTSEEN_JWT_ISSUER", show_envvar=True, help="Who has issued it (iss).")
@data_dir_option
def token(
    user: str,
    role: str,
    projects: tuple[str, ...],
    scopes: tuple[str, ...],
    ttl: int,
    audience: str | None,
    issuer: str | None,
    data_dir: Path,
) -> None:
    """Print a JWT for the instance of a data directory."""
    _check("--user", "user", [user])
    _check("--project", "project", projects)
    if any(scope.split() != [scope] for scope in scopes):
        raise click.BadParameter("a scope is one word, such as publish", param_hint="--scope")
    secret = read_secret(data_dir)
    click.echo(local_token(secret, user, role, list(projects), list(scopes), ttl, audience=audience, issuer=issuer))


def _check(option: str, kind: str, ids: list[str] | tuple[str, ...]) -> None:
    for id_ in ids:
        try:
            parse_channel(f"{kind}:{id_}")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from error
