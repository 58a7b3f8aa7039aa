"""The root of the command line. Verbs come from the parts that are installed, by entry point."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

import click

from common import __version__
from common.errors import OpenRaaSError

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS = "openraas.commands"


class _Root(click.Group):
    """Finds verbs lazily: `openraas --help` imports all of them, `openraas ps` only its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(point.name for point in entry_points(group=COMMANDS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return load_command(COMMANDS, cmd_name)


def load_command(group: str, name: str) -> click.Command | None:
    """The verb of an entry point group; where its dependencies are missing, one that says what to install."""
    for point in entry_points(group=group, name=name):
        try:
            command: click.Command = point.load()
        except ModuleNotFoundError as error:
            # The verb belongs to a part whose dependencies this machine does not have.
            return _not_installed(name, error.name or "")
        return command
    return None


def _not_installed(name: str, module: str) -> click.Command:
    part = "master" if name not in ("box", "lab") else "compute"

    @click.command(
        name, short_help=f"(needs openraas[{part}])", context_settings={"ignore_unknown_options": True}
    )
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def missing(rest: tuple[str, ...]) -> None:  # noqa: ARG001
        raise OpenRaaSError(
            f"The command {name} needs the Python module {module}.",
            remedy=f"Run: pip install 'openraas[{part}]'.",
        )

    return missing


@click.group(cls=_Root)
@click.version_option(__version__, prog_name="openraas")
def root() -> None:
    """OpenRaaS runs any application on the box nearest to the person who asked for it."""


def json_option(function: F) -> F:
    """The option `--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def print_json(value: Any) -> None:
    """What `--json` prints: one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def main() -> None:
    """Run the command line; exit 0 when it worked, 1 when it failed, 2 for bad input."""
    try:
        # Without standalone mode click hands the code of `ctx.exit` back instead of raising it.
        result = root.main(prog_name="openraas", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OpenRaaSError as error:
        click.echo(f"openraas: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
