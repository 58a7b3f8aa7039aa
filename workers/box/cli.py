"""`openraas box …`: joining, running, and what other parts add by the entry point `openraas.commands.box`."""

from __future__ import annotations

import os
import re
import socket
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from common.addresses import MasterAddress
from common.cli import json_option, load_command, print_json
from common.errors import BadInput, Conflict
from common.words import BoxKind, Role

COMMANDS = "openraas.commands.box"


def default_state_dir() -> Path:
    """Where a box keeps its things when nobody says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/openraas/box")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "openraas/box"


def default_name() -> str:
    """This machine's host name as a box id."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return name[:40].strip("-") or "box"


class _BoxGroup(click.Group):
    """Verbs of the box itself, and those of the master's part where it is installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        return load_command(COMMANDS, cmd_name)


@click.group(cls=_BoxGroup)
def box() -> None:
    """Lend this machine (join, run), and look after boxes (list, show, token, remove)."""


_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    envvar="OPENRAAS_BOX_DIR",
    default=default_state_dir,
    show_default="/var/lib/openraas/box",
    help="Everything of this box.",
)


def _roles(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    roles = [part.strip() for part in value.split(",") if part.strip()]
    for role in roles:
        if role not in set(Role):
            raise click.BadParameter(f"{role!r} is none of {', '.join(Role)}")
    return roles


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    if any("=" not in value for value in values):
        raise click.BadParameter("write KEY=VALUE")
    return dict(value.split("=", 1) for value in values) or None


def _coordinate(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, float] | None:
    if value is None:
        return None
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter("write X,Y in milliseconds") from error
    return {"x_ms": x, "y_ms": y}


@box.command()
@click.argument("master")
@click.argument("token")
@_state_dir
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file with these options (underscores for hyphens); options given here win.",
)
@click.option("--name", "box", help="Id of the box; default: the host name.")
@click.option("--roles", callback=_roles, help="Any of compute,filestore,depository; default: all.")
@click.option("--kind", type=click.Choice([kind.value for kind in BoxKind]))
@click.option("--open/--closed", "open", default=None, help="May run other people's containers, or not.")
@click.option("--fixed/--unstable", "fixed", default=None, help="Is expected to stay reachable, or not.")
@click.option("--address", help="Where browsers and other boxes reach this one.")
@click.option("--front-port", type=int, help="Gateway and layers.")
@click.option("--filestore-port", type=int)
@click.option("--loopback-port", type=int, help="Where the container engine pulls; loopback only.")
@click.option("--metrics-port", type=int, help="Prometheus metrics on loopback; 0: none.")
@click.option("--lent", "lent_bytes", help="Disk space to lend, such as 20GB.")
@click.option("--cpu", type=float, help="Cores to lend; default: all.")
@click.option("--memory", "memory_bytes", help="Memory to lend, such as 4GiB.")
@click.option("--bandwidth", "bandwidth_bps", help="Bandwidth to lend, such as 100Mbit.")
@click.option("--gpu", type=int, help="Graphics processors to lend; default: all.")
@click.option("--label", "labels", multiple=True, callback=_labels, metavar="KEY=VALUE")
@click.option("--owner", help="Whose box this is; default: who made the token.")
@click.option("--coordinate", callback=_coordinate, metavar="X,Y", help="Place in network space, in ms.")
@click.option(
    "--engine", "engine_url", help="Socket of the container engine, such as unix:///run/docker.sock."
)
@click.option("--allow-private-egress/--no-private-egress", default=None)
@click.option("--network-range", help="Addresses for the networks of deployments, such as 10.213.0.0/16.")
@click.option("--again", is_flag=True, help="Join anew although this box has joined.")
@json_option
def join(
    master: str, token: str, state_dir: Path, file: Path | None, again: bool, as_json: bool, **given: Any
) -> None:
    """Join the master at MASTER (https://host:port) with a one-time TOKEN (`openraas box token` there).

    With - for TOKEN it is read from standard input, where no list of processes shows it.
    """
    from common import needs
    from workers.box.config import BoxConfig
    from workers.box.join import Master
    from workers.box.join import join as join_master
    from workers.box.programs import required

    values = {**_read(file), **{key: value for key, value in given.items() if value is not None}}
    values = {"box": default_name(), **values, "state_dir": state_dir}
    config = BoxConfig.build(values, source=str(file) if file else "box join")
    needs.require(required(config))
    if token == "-":  # noqa: S105
        token = sys.stdin.readline()
    identity = join_master(Master(MasterAddress.parse(master, field="MASTER")), token, config, again=again)
    name = identity.answer.box
    if as_json:
        print_json({"box": name, "master": identity.answer.master.url, "state_dir": state_dir})
    else:
        click.echo(
            f"This machine has joined as box {name}. Start it with: openraas box run --state-dir {state_dir}"
        )


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            f"{file} is not TOML: {error}.",
            field="--config",
            remedy='Correct it: text stands in quotes, as in address = "192.0.2.11".',
        ) from error


@box.command()
@_state_dir
def run(state_dir: Path) -> None:
    """Run the box in the foreground until SIGTERM or Ctrl-C; instances keep running."""
    from common import needs
    from workers.box.config import BoxConfig, Identity
    from workers.box.programs import ports, programs, required, supervisor

    config = BoxConfig.load(state_dir)
    Identity.load(state_dir)
    needs.require(required(config))
    needs.require_free(ports(config))
    command = supervisor(config).prepare(programs(config))
    os.execv(command[0], command)  # noqa: S606 -- supervisord takes this process's place and its signals


@box.command()
@_state_dir
@json_option
def clean(state_dir: Path, as_json: bool) -> None:
    """Remove what instances left on this machine, after the box was killed: containers, networks, mounts."""
    from workers.box.config import BoxConfig
    from workers.box.leftovers import clean as clean_up
    from workers.box.programs import supervisor

    config = BoxConfig.load(state_dir)
    if supervisor(config).is_running():
        raise Conflict(
            "The box runs.", remedy="End it first; a running box removes what nobody wants itself."
        )
    removed = clean_up(config.with_engine())
    if as_json:
        print_json({"removed": removed})
        return
    for line in removed:
        click.echo(f"Removed {line}.")


@box.command()
@_state_dir
def off(state_dir: Path) -> None:
    """End all that runs on this box and take nothing new, until `openraas box on`."""
    _turn(state_dir, off=True)
    click.echo("Switched off: instances end within seconds and are placed on other boxes.")


@box.command()
@_state_dir
def on(state_dir: Path) -> None:
    """Take instances again after `openraas box off`."""
    _turn(state_dir, off=False)
    click.echo("Switched on.")


def _turn(state_dir: Path, *, off: bool) -> None:
    from workers.box.config import Identity
    from workers.box.owner import Switch

    Identity.load(state_dir)
    Switch(state_dir).turn(off=off)


@box.command(hidden=True)
@_state_dir
def worker(state_dir: Path) -> None:
    """The box's Celery worker; `box run` starts it."""
    from workers.box.worker_main import run as run_worker

    run_worker(state_dir)


@box.command(hidden=True)
@_state_dir
def front(state_dir: Path) -> None:
    """The box's small HTTP server; `box run` starts it."""
    from workers.box.front_main import run as run_front

    run_front(state_dir)
