"""`lastseen console`: a link that opens the console of a local instance, signed in."""

import asyncio
from pathlib import Path

import click

from service.cli.target import LOCAL_USER, data_dir_option, local_token, read_secret

_SCOPES = ["publish", "publish:rights", "console"]
_SECONDS = 3600


@click.command()
@data_dir_option
def console(data_dir: Path) -> None:
    """Print a link to the console of a local instance.

    It signs in once, within ten minutes, as the local user with the role admin.
    """
    from service.embedded.errors import DataDirError
    from service.embedded.instance import read

    try:
        instance = read(data_dir)
    except DataDirError as error:
        raise click.ClickException(str(error)) from error
    click.echo(asyncio.run(link(instance.url, read_secret(data_dir))))


async def link(url: str, secret: str) -> str:
    """A link to the console of the node at `url`, which signs in once. Raises ClickException."""
    import httpx

    # A proxy of the environment is not asked for what runs on this machine.
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
        token = local_token(secret, LOCAL_USER, "admin", [], _SCOPES, _SECONDS)
        try:
            answer = await http.post(f"{url}/api/v1/console/codes", headers={"Authorization": f"Bearer {token}"})
            answer.raise_for_status()
            return f"{url}/#code={answer.json()['code']}"
        except httpx.HTTPStatusError as error:
            raise click.ClickException(f"The service at {url} gives no link: {error.response.text}") from error
        except httpx.TransportError as error:
            raise click.ClickException(f"The service at {url} does not answer ({error}).") from error
