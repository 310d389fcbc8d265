"""The `lastseen` command."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Event-sourced real-time messaging, from one machine up."""
