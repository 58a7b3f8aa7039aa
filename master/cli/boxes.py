"""`openraas box list|show|token|remove|cordon|uncordon`: looking after boxes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click

from common.addresses import is_loopback
from common.cli import json_option, print_json
from common.units import parse_duration, show_rate
from master.cli.client import Client, part
from master.cli.output import age, details, done, duration, listing, size


@click.command("list")
@json_option
def list_boxes(as_json: bool) -> None:
    """All boxes and what they say of themselves."""
    with Client() as client:
        found = client.get("/boxes")["boxes"]
    listing(
        found,
        {
            "BOX": lambda item: item["id"],
            "STATE": _state,
            "ROLES": lambda item: ",".join(item["roles"]),
            "KIND": lambda item: item["kind"],
            "CPU": lambda item: _of(item, lambda s: f"{s['used']['cpu']:g}/{s['capacity']['cpu']:g}"),
            "MEMORY": lambda item: _of(
                item, lambda s: f"{size(s['used']['memory_bytes'])}/{size(s['capacity']['memory_bytes'])}"
            ),
            "DISK USED": lambda item: _of(item, _disk),
            "INSTANCES": lambda item: _of(item, lambda s: s["instances"]),
            "ADDRESS": lambda item: item["address"],
        },
        as_json=as_json,
        empty="No box has joined. Make a token with openraas box token, then run openraas box join there.",
    )


@click.command()
@click.argument("box")
@json_option
def show(box: str, as_json: bool) -> None:
    """One box."""
    with Client() as client:
        item = client.get(f"/boxes/{part(box)}")
    if as_json:
        print_json(item)
        return
    status = item["status"]
    values: dict[str, object] = {
        "Box": item["id"],
        "State": _state(item),
        "Alert": status["alert"] if status else None,
        "Kind": item["kind"],
        "Roles": ", ".join(item["roles"]),
        "Runs others' containers": "yes" if item["open"] else "no",
        "Expected to stay": "yes" if item["fixed"] else "no",
        "Address": item["address"],
        "Joined": f"{age(item['joined_at'])} ago",
    }
    if status:
        values |= {
            "Architecture": status["architecture"],
            "Engine": _engine(status["engine"]),
            "Cores used": f"{status['used']['cpu']:g} of {status['capacity']['cpu']:g}",
            "Memory used": f"{size(status['used']['memory_bytes'])} of {size(status['capacity']['memory_bytes'])}",
            "Disk used": _disk(status),
            "Layers": size(status["disk"]["blobs_bytes"]),
            "Unpacked in the engine": size(status["disk"]["engine_bytes"]),
            "Filesets": f"{len(status['filesets'])}, {size(status['disk']['filesets_bytes'])}",
            "Instances": status["instances"],
            "Load per core": f"{status['load']:.2f}",
            "Temperature": f"{status['temperature_c']:.0f} °C"
            if status["temperature_c"] is not None
            else None,
            "Place": _place(status),
            "Round trip to the master": _milliseconds(status["master_ms"]),
            "Round trips measured": ", ".join(
                f"{other} {_milliseconds(ms)}" for other, ms in sorted(status["round_trips_ms"].items())
            ),
            "Version": status["version"],
        }
    details(values)


def _place(status: dict[str, Any]) -> str:
    place, error = status["coordinate"], status["coordinate_error"]
    known = "typed in" if error is None else f"±{100 * error:.0f} %"
    return f"{place['x_ms']:.1f}, {place['y_ms']:.1f} ms, height {place['height_ms']:.1f} ms ({known})"


def _milliseconds(value_ms: float | None) -> str | None:
    return None if value_ms is None else f"{value_ms:.1f} ms"


@click.command()
@click.option("--ttl", help="How long it holds, such as 15min or 2h.")
@click.option("--own", is_flag=True, help="For a machine of your own, where people may add theirs.")
@json_option
def token(ttl: str | None, own: bool, as_json: bool) -> None:
    """Make a token with which one box may join, once."""
    if own and ttl is not None:
        raise click.UsageError("How long a token for one's own machine holds is not chosen: leave --ttl out.")
    body: dict[str, float] = {}
    if ttl is not None:
        try:
            body["ttl_s"] = parse_duration(ttl)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--ttl") from error
    with Client() as client:
        answer = client.send("POST", "/boxes/own-token" if own else "/boxes/token", None if own else body)
        server = client.target.server
    if as_json:
        print_json({**answer, "master": server})
        return
    click.echo(f"On the box, within {answer['expires_in_s'] / 60:.0f} minutes:\n", err=True)
    click.echo(f"openraas box join {server} {answer['token']}")
    if is_loopback(urlsplit(server).hostname or ""):
        click.echo(
            f"\nNo other machine can reach {server}: this works only here. To let others in, start the master with "
            "openraas up --listen ADDRESS.",
            err=True,
        )


@click.command()
@click.argument("box")
@click.option("--force", is_flag=True, help="Even if it has the only copy of a fileset.")
@json_option
def remove(box: str, force: bool, as_json: bool) -> None:
    """Let a box go: it can no longer reach the master, and nothing is placed on it."""
    with Client() as client:
        client.send("DELETE", f"/boxes/{part(box)}", force=force)
    done(f"Box {box} is removed.", {"removed": box}, as_json=as_json)


@click.command()
@click.argument("box")
@json_option
def cordon(box: str, as_json: bool) -> None:
    """Place nothing new on a box; what runs there goes on."""
    _cordon(box, True, f"Nothing new is placed on {box}.", as_json=as_json)


@click.command()
@click.argument("box")
@json_option
def uncordon(box: str, as_json: bool) -> None:
    """Place on a box again."""
    _cordon(box, False, f"{box} takes placements again.", as_json=as_json)


@click.command()
@click.argument("box")
@json_option
def drain(box: str, as_json: bool) -> None:
    """Place nothing new on a box, and start what runs there anew elsewhere."""
    with Client() as client:
        answer = client.send("POST", f"/boxes/{part(box)}/drain", {})
    done(f"{answer['moved']} instances of {box} begin again elsewhere.", answer, as_json=as_json)


@click.command()
@click.argument("box")
@click.option("--since", default="1h", show_default=True, help="How far back: 1h, 7d or 31d.")
@json_option
def metrics(box: str, since: str, as_json: bool) -> None:
    """What a box was like: processor, memory, disk, network, temperature."""
    with Client() as client:
        found = client.get(f"/boxes/{part(box)}/metrics", since=since)
    if as_json:
        print_json(found)
        return
    listing(
        found["samples"],
        {
            "FROM": lambda item: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["at"])),
            "CPU": lambda item: f"{100 * item['cpu']:.0f} %",
            "MEMORY": lambda item: size(round(item["memory_bytes"])),
            "DISK": lambda item: size(round(item["disk_bytes"])),
            "IN": lambda item: show_rate(item["in_bps"]),
            "OUT": lambda item: show_rate(item["out_bps"]),
            "WARMTH": lambda item: (
                "-" if item["temperature_c"] is None else f"{item['temperature_c']:.0f} °C"
            ),
            "LENT": lambda item: f"{100 * item['lent']:.0f} %",
        },
        as_json=False,
        empty=f"Nothing is known of {box} in that time.",
    )


@click.command()
@click.argument("box")
@click.option("--since", default="31d", show_default=True, help="How far back.")
@json_option
def given(box: str, since: str, as_json: bool) -> None:
    """What a box of yours gave: hours lent, core-hours, starts, bytes served."""
    with Client() as client:
        found = client.get(f"/boxes/{part(box)}/given", since=since)
    if as_json:
        print_json(found)
        return
    details(
        {
            "Up": f"{found['up_h']:.1f} h",
            "Lent": f"{found['lent_h']:.1f} h",
            "Cores held": f"{found['core_h']:.1f} h",
            "Starts": found["starts"],
            "Mounts served": found["mounts"],
            "Layers served": size(found["served_bytes"]),
        }
    )


@click.command()
@click.argument("box")
@json_option
def runs(box: str, as_json: bool) -> None:
    """What ran on a box of yours, the newest first."""
    with Client() as client:
        found = client.get(f"/boxes/{part(box)}/runs")["runs"]
    listing(
        found,
        {
            "APPLICATION": lambda item: item["application"],
            "STATE": lambda item: item["state"],
            "AGE": lambda item: age(item["began_at"]),
            "TOOK": lambda item: duration(item["took_s"]),
            "CPU": lambda item: f"{item['cpu']:g}",
            "DEPLOYMENT": lambda item: item["deployment"],
        },
        as_json=as_json,
        empty=f"Nothing ran on {box}.",
    )


def _cordon(box: str, cordoned: bool, message: str, *, as_json: bool) -> None:
    with Client() as client:
        answer = client.send("POST", f"/boxes/{part(box)}/cordon", {"cordoned": cordoned})
    done(message, answer, as_json=as_json)


def _state(item: dict[str, Any]) -> str:
    state = "up" if item["up"] else "silent"
    if item["status"] and item["status"]["alert"]:
        state += ", full"
    if item["accused_by"]:
        state += f", accused of bad bytes by {', '.join(item['accused_by'])}"
    return f"{state}, cordoned" if item["cordoned"] else state


def _of(item: dict[str, Any], show: Callable[[dict[str, Any]], object]) -> object:
    return show(item["status"]) if item["status"] else None


def _disk(status: dict[str, Any]) -> str:
    disk = status["disk"]
    used = disk["blobs_bytes"] + disk["engine_bytes"] + disk["filesets_bytes"]
    return f"{size(used)}/{size(disk['lent_bytes'])}"


def _engine(facts: dict[str, Any] | None) -> str | None:
    if facts is None:
        return None
    layers = "gzip, zstd" if facts["zstd"] else "gzip"
    return f"{facts['name']} {facts['version']} ({facts['store']}; unpacks {layers})"
