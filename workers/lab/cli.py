"""`openraas lab …`: a fleet of real boxes on one machine."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from common.cli import json_option, print_json
from common.settings import Settings, settings
from common.units import parse_duration, parse_rate
from common.words import Role
from workers.lab import build, engine, plan
from workers.lab.commands import require_root
from workers.lab.fleet import Lab, NodeStatus
from workers.lab.plan import LAB_ID, MOST_BOXES, MOST_DELAY_MS, Link


class _Rates(click.ParamType[tuple[int, ...]]):
    """`100mbit,20mbit`: what the first box's link carries, the second's, and so on in turn."""

    name = "rates"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            rates = tuple(parse_rate(part) for part in value.split(","))
        except ValueError as error:
            self.fail(f"{error}; write for example 100mbit or 100mbit,20mbit", param, ctx)
        if min(rates) < 8_000:
            self.fail("a link carries at least 8kbit", param, ctx)
        return rates


class _Deal(click.ParamType[tuple[frozenset[Role], ...]]):
    """`compute,filestore+depository`: the roles of the first box, the second, and so on in turn."""

    name = "roles"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(frozenset(Role(word) for word in part.split("+")) for part in value.split(","))
        except ValueError as error:
            self.fail(f"{error}; write for example compute,filestore+depository", param, ctx)


class _Delays(click.ParamType[tuple[float, ...]]):
    """`2ms,40ms`: the delay of the first box's link, the second's, and so on in turn; in milliseconds."""

    name = "delays"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            delays = tuple(1000 * parse_duration(part) for part in value.split(","))
        except ValueError as error:
            self.fail(f"{error}; write for example 20ms or 2ms,40ms", param, ctx)
        if max(delays) > MOST_DELAY_MS:
            self.fail(f"a link adds at most {MOST_DELAY_MS / 1000:g} s", param, ctx)
        return delays


def _lab_id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not LAB_ID.match(value):
        raise click.BadParameter("one to six small letters and digits")
    return value


def _settings(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if value.partition("=")[0] not in Settings.model_fields or "=" not in value:
            raise click.BadParameter(f"{value!r}: write NAME=VALUE with a name that openraas config lists")
    return dict(value.split("=", 1) for value in values)


_lab = click.option("--lab", callback=_lab_id, help="Which lab; not needed if one alone is meant.")


@click.group()
def lab() -> None:
    """A fleet of real boxes on this machine, in network namespaces with shaped links. Needs root."""


@lab.command(context_settings={"ignore_unknown_options": True})
@click.option("--boxes", type=click.IntRange(1, MOST_BOXES), required=True, help="How many.")
@click.option(
    "--uplink",
    "uplinks",
    type=_Rates(),
    help="What the boxes can send, in turn, such as 100mbit or 100mbit,20mbit; default: not limited.",
)
@click.option(
    "--downlink", "downlinks", type=_Rates(), help="What they can receive, in turn; default: as --uplink."
)
@click.option(
    "--delay",
    "delays",
    type=_Delays(),
    default=(0.0,),
    show_default="none",
    help="What the links of the boxes add to a round trip, in turn, such as 20ms or 2ms,40ms.",
)
@click.option(
    "--roles",
    type=_Deal(),
    default=(frozenset(Role),),
    show_default="all three",
    help="Roles of the boxes in turn, such as compute,filestore+depository.",
)
@click.option(
    "--own-master", is_flag=True, help="Start a master for this lab instead of joining the running one."
)
@click.option(
    "--set",
    "chosen",
    multiple=True,
    callback=_settings,
    metavar="NAME=VALUE",
    help="A setting of the lab's own master, such as policy=random; may be repeated.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Everything of the lab; default: below /var/lib/openraas-lab.",
)
@click.option(
    "--each",
    "each_options",
    multiple=True,
    metavar="OPTIONS",
    help="Options of `openraas box join` for the first box, such as '--cpu 2'; repeated: for the next in turn.",
)
@click.option("--subnet", help="Addresses of the lab; default: a free /24 of 10.231.0.0/16.")
@click.option("--lab", "name", callback=_lab_id, help="Name of the lab: up to six letters and digits.")
@json_option
@click.argument("box_options", nargs=-1, type=click.UNPROCESSED)
def up(
    boxes: int,
    uplinks: Sequence[int] | None,
    downlinks: Sequence[int] | None,
    delays: Sequence[float],
    roles: Sequence[frozenset[Role]],
    own_master: bool,
    chosen: dict[str, str],
    state_dir: Path | None,
    each_options: tuple[str, ...],
    subnet: str | None,
    name: str | None,
    as_json: bool,
    box_options: tuple[str, ...],
) -> None:
    """Make a lab. What follows `--` are further options of `openraas box join` for every box."""
    if chosen and not own_master:
        raise click.BadParameter(
            "is for the lab's --own-master; the running one has its settings", param_hint="--set"
        )
    wanted = build.Plan(
        boxes=boxes,
        roles=roles,
        links=_links(uplinks, downlinks),
        delays_ms=delays,
        lab=name,
        state_dir=state_dir,
        subnet=subnet,
        own_master=own_master,
        settings=chosen,
        box_options=box_options,
        each_options=[shlex.split(options) for options in each_options] or [()],
    )
    # Asked to end in the middle, it undoes what it made, as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    made = build.up(wanted, settings(), say=lambda text: click.echo(text, err=as_json))
    lab = made.state.lab
    if as_json:
        print_json({"lab": lab, "master": _master(made), "boxes": [_row(row) for row in made.status()]})
        return
    _show(made.status())
    click.echo(f"Lab {lab} is up. Remove it with: openraas lab down --lab {lab}")


@lab.command("list")
@json_option
def list_labs(as_json: bool) -> None:
    """All labs of this machine, whole or not."""
    labs = build.all_labs()
    if as_json:
        print_json(labs)
        return
    for name in labs:
        click.echo(name)


@lab.command()
@_lab
@json_option
def status(lab: str | None, as_json: bool) -> None:
    """The boxes of a lab: address, roles, whether they run, are cut or killed."""
    require_root()
    rows = Lab(plan.choose(lab)).status()
    if as_json:
        print_json([_row(row) for row in rows])
    else:
        _show(rows)


def _links(up: Sequence[int] | None, down: Sequence[int] | None) -> list[Link]:
    """The links in turn; what goes on longer than the other begins anew there."""
    ups: Sequence[int | None] = up or (None,)
    downs: Sequence[int | None] = down or ups
    count = math.lcm(len(ups), len(downs))
    return [
        Link(uplink_bps=ups[index % len(ups)], downlink_bps=downs[index % len(downs)])
        for index in range(count)
    ]


def _master(lab: Lab) -> dict[str, Any] | None:
    """Where programs find the lab's master, and its own command line finds it (OPENRAAS_STATE_DIR)."""
    master = lab.state.master
    if master is None:
        return None
    return {"address": master.address, "state_dir": str(master.state_dir), "own": master.own}


def _row(status: NodeStatus) -> dict[str, Any]:
    node = status.node
    return {
        "name": node.name,
        "address": status.address,
        "roles": sorted(node.roles),
        "state": status.word,
        "engine": status.engine,
        "uplink_bps": node.link.uplink_bps,
        "downlink_bps": node.link.downlink_bps,
        "delay_ms": node.link.delay_ms,
    }


def _show(rows: Sequence[NodeStatus]) -> None:
    for row in rows:
        roles = ",".join(sorted(row.node.roles)) or "master"
        engine_word = {True: "engine up", False: "engine down", None: ""}[row.engine]
        click.echo(f"{row.node.name:12} {row.address:16} {row.word:7} {roles:30} {engine_word}".rstrip())


def _change(box: str, lab: str | None, change: Callable[[Lab, str], None], *, as_json: bool) -> None:
    require_root()
    there = Lab(plan.choose(lab, box))
    change(there, box)
    if as_json:
        print_json(next(_row(row) for row in there.status() if row.node.name == box))


@lab.command()
@click.argument("box")
@_lab
@json_option
def cut(box: str, lab: str | None, as_json: bool) -> None:
    """Break the link of BOX: it runs on, and every packet is swallowed."""
    _change(box, lab, Lab.cut, as_json=as_json)


@lab.command()
@click.argument("box")
@_lab
@json_option
def kill(box: str, lab: str | None, as_json: bool) -> None:
    """End BOX as if it lost power: all processes and containers at once; its disk stays."""
    _change(box, lab, Lab.kill, as_json=as_json)


@lab.command()
@click.argument("box")
@_lab
@json_option
def heal(box: str, lab: str | None, as_json: bool) -> None:
    """Mend the link of BOX, and start it again if it was killed."""
    _change(box, lab, Lab.heal, as_json=as_json)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("box")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_lab
def execute(box: str, command: tuple[str, ...], lab: str | None) -> None:
    """Run COMMAND on BOX, such as `openraas lab exec lab1-1 docker ps`."""
    require_root()
    there = Lab(plan.choose(lab, box))
    node = there.state.find(box)
    argv = there.inside(node, command)
    host = {"DOCKER_HOST": f"unix://{engine.socket_path(there.state, node)}"}
    raise click.exceptions.Exit(subprocess.run(argv, env={**os.environ, **host}, check=False).returncode)


@lab.command()
@_lab
@click.option("--all", "everything", is_flag=True, help="Every lab, and what is left of former ones.")
@json_option
def down(lab: str | None, everything: bool, as_json: bool) -> None:
    """Remove a lab: processes, containers, mounts, links, addresses and files."""
    require_root()
    names = build.all_labs() if everything else [lab or plan.choose(None).lab]
    for name in names:
        build.down(name, say=lambda text: click.echo(text, err=True))
        if not as_json:
            click.echo(f"Lab {name} is gone.")
    if as_json:
        print_json({"removed": names})
