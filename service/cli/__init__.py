"""The `lastseen` command."""

import click

from service.cli.commands import cancel, confirm, pause, resume, send_input
from service.cli.console import console
from service.cli.history import history
from service.cli.lag import lag
from service.cli.publish import publish
from service.cli.run import run
from service.cli.start import start
from service.cli.tail import tail
from service.cli.token import token
from service.cli.topics import topics
from service.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Event-sourced real-time messaging, from one machine up."""


main.add_command(up)
main.add_command(topics)
main.add_command(lag)
main.add_command(publish)
main.add_command(run)
main.add_command(start)
main.add_command(tail)
main.add_command(history)
main.add_command(send_input)
main.add_command(cancel)
main.add_command(pause)
main.add_command(resume)
main.add_command(confirm)
main.add_command(token)
main.add_command(console)
