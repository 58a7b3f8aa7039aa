"""`openraas prewarm` and `openraas schedule`: what is ready before people come."""

from __future__ import annotations

import datetime
from typing import Any

import click

from common.cli import json_option
from master.cli.client import Client, part
from master.cli.output import done, listing


@click.command()
@click.argument("application", required=False)
@click.argument("count", type=click.IntRange(0, 200), required=False)
@click.option("--by-manifest", is_flag=True, help="Let the manifest's number count again.")
@json_option
def prewarm(application: str | None, count: int | None, by_manifest: bool, as_json: bool) -> None:
    """Keep COUNT instances of APPLICATION ready at all times; without arguments, list what waits where."""
    if application is not None and count is None and not by_manifest:
        raise click.UsageError("Say how many: openraas prewarm notebook 3 (or --by-manifest).")
    with Client() as client:
        if application is None:
            found = client.get_all("/prewarmed", "prewarmed")
        elif by_manifest:
            found = client.send("DELETE", f"/prewarmed/{part(application)}")["prewarmed"]
        else:
            found = client.send("PUT", f"/prewarmed/{part(application)}", {"count": count})["prewarmed"]
    columns = {
        "APPLICATION": lambda item: item["application"],
        "WANTED": lambda item: item["wanted"],
        "BY": lambda item: "operator" if item["is_ordered"] else "manifest",
        "READY": lambda item: item["ready"],
        "BOXES": lambda item: (
            ", ".join(f"{pool['box']} {pool['ready']}/{pool['wanted']}" for pool in item["boxes"]) or "-"
        ),
    }
    listing(found, columns, as_json=as_json, empty="Nothing is prewarmed.")


@click.group()
def schedule() -> None:
    """When many people will come: layers and instances are ready by then."""


@schedule.command()
@click.argument("entry")
@click.option("--zone", help="Time zone, such as Europe/Berlin; default: the setting time_zone.")
@json_option
def add(entry: str, zone: str | None, as_json: bool) -> None:
    """Add ENTRY, such as "Mon 08:00 notebook x30" (every week) or "2026-12-01 08:00 notebook x30" (once)."""
    with Client() as client:
        made = client.send("POST", "/timetable", {"entry": entry, "zone": zone})
    text = f"{made['application']} for {made['count']} on {_moment(made)} ({made['id']})."
    done(text, made, as_json=as_json)


@schedule.command("list")
@json_option
def list_entries(as_json: bool) -> None:
    """All entries, the next first."""
    with Client() as client:
        found = client.get_all("/timetable", "entries")
    columns = {
        "ID": lambda item: item["id"],
        "WHEN": lambda item: f"{item['day']} {item['time']} {item['zone']}",
        "APPLICATION": lambda item: item["application"],
        "PEOPLE": lambda item: item["count"],
        "NEXT": _moment,
        "BY": lambda item: item["by"],
    }
    listing(found, columns, as_json=as_json, empty="The timetable is empty.")


def _moment(entry: dict[str, Any]) -> str:
    """When it comes next, by this machine's clock."""
    if entry["next_at"] is None:
        return "over"
    return datetime.datetime.fromtimestamp(entry["next_at"]).astimezone().strftime("%F %H:%M")


@schedule.command()
@click.argument("entry")
@json_option
def remove(entry: str, as_json: bool) -> None:
    """Remove the entry of this id."""
    with Client() as client:
        client.send("DELETE", f"/timetable/{part(entry)}")
    done(f"{entry} is removed.", {"id": entry}, as_json=as_json)
