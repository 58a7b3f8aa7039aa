"""`openraas completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from common.cli import root


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL; for bash: openraas completion bash >> ~/.bashrc."""
    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter(f"{shell} is not known", param_hint="SHELL")
    click.echo(found(root, {}, "openraas", "_OPENRAAS_COMPLETE").source())
