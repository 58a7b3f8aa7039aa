"""`openraas up`, `status`, `config` and `service`: the platform on this machine."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from common import logs
from common.cli import json_option, print_json
from common.settings import Settings, load_settings
from master.up.display import Display


class _Ended(BaseException):
    """Ctrl-C or SIGTERM. No error: nothing may take it for one and go on."""


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Ended


def _settings(**given: Any) -> Settings:
    return load_settings(**{key: value for key, value in given.items() if value is not None})


@click.command()
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False, resolve_path=True))
@click.option(
    "--listen", metavar="ADDRESS", help="Serve other machines too, with TLS; default: loopback only."
)
@click.option(
    "--tls",
    type=click.Choice(["auto", "internal"]),
    help="internal: the portal speaks TLS on loopback too, by the installation's own authority.",
)
@click.option("--web-port", type=int)
@click.option("--redirect-port", type=int, help="Send browsers without TLS from this port on to the portal.")
@click.option("--redis-port", type=int)
@click.option(
    "--box-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="Options of this machine's own box, as for `openraas box join --config`.",
)
@click.option("--no-box", is_flag=True, help="A master alone: needs no container engine and no root.")
@click.option("--demo", is_flag=True, help="Publish the sample applications and start one.")
@click.option("--leave-running", is_flag=True, help="At the end leave instances running, as a service does.")
def up(box_config: Path | None, no_box: bool, demo: bool, leave_running: bool, **given: Any) -> None:
    """Start the whole platform on this machine and keep it up until Ctrl-C."""
    if no_box and (demo or box_config):
        raise click.UsageError("--no-box goes neither with --demo nor with --box-config.")
    began = time.monotonic()
    settings = _settings(**given)
    # Heavy imports wait until the options are known to be good.
    from master.up.background import publish_the_rest
    from master.up.demo import run_demo
    from master.up.farewell import end_deployments, remove_leftovers
    from master.up.platform import Platform

    # What the terminal shows are steps; of what this process logs only what is wrong belongs there.
    logs.configure("WARNING", json_lines=False)
    display = Display(Console(stderr=False))
    platform = Platform(settings, display.step, box_file=box_config, with_box=not no_box)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        platform.start()
        _greet(display.console, platform, time.monotonic() - began)
        if demo:
            run_demo(platform, display)
        display.console.print("[bold]Ctrl-C[/] stops everything that was started here.", highlight=False)
        if demo:
            publish_the_rest(platform, display)
        while True:
            ended.wait(3600.0)
    except _Ended:
        display.console.print()
    finally:
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with ExitStack() as stack:
            stack.callback(platform.stop)
            # What runs on boxes elsewhere does not end with the master.
            if platform.is_up and not leave_running and not no_box:
                end_deployments(platform, display)
                platform.stop_box()
                remove_leftovers(platform)


def _greet(console: Console, platform: Any, took_s: float) -> None:
    paths = platform.layout.master
    console.print(f"\n[bold green]OpenRaaS is up[/] after {took_s:.1f} s.", highlight=False)
    console.print(f"  Portal    [link]{platform.portal}[/link]", highlight=False)
    console.print(f"  Sign in   admin, with the password in {paths.admin_password}", highlight=False)
    if platform.first_password:
        console.print(f"            (this time only: {platform.first_password})", highlight=False)
    if platform.settings.state_dir != Settings.model_fields["state_dir"].get_default(
        call_default_factory=True
    ):
        # Without it the other verbs look where an installed OpenRaaS keeps its state.
        console.print(f"  Verbs     export OPENRAAS_STATE_DIR={platform.settings.state_dir}", highlight=False)
    console.print()


@click.command()
@json_option
def status(as_json: bool) -> None:
    """What runs on this machine and whether it is well; exit code 1 if something is down."""
    from master.up.status import look, show

    found = look(_settings())
    show(found, as_json=as_json)
    if not found.is_good:
        raise click.exceptions.Exit(1)


@click.command()
@json_option
def config(as_json: bool) -> None:
    """The settings in force and where each came from; secrets are hidden."""
    from master.up.settings_view import rows, show

    show(rows(_settings()), as_json=as_json)


@click.group()
def service() -> None:
    """Run the platform or a box as a service of the system."""


@service.command()
@click.option("--box", is_flag=True, help="The service of a box that has joined, instead of the platform's.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False, resolve_path=True))
@click.option("--print", "only_print", is_flag=True, help="Show the unit file instead of installing it.")
@json_option
def install(box: bool, state_dir: Path | None, only_print: bool, as_json: bool) -> None:
    """Install a systemd unit that starts at boot."""
    from master.up import units

    unit = units.box_unit(state_dir) if box else units.platform_unit(_settings(state_dir=state_dir))
    if not only_print:
        units.install(unit)
    if as_json:
        print_json({"name": unit.name, "path": unit.path, "text": unit.text, "installed": not only_print})
    elif only_print:
        click.echo(unit.text, nl=False)
    else:
        click.echo(
            f"Installed {unit.path}. It starts at boot; start it now with: systemctl start {unit.name}"
        )
