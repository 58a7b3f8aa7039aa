"""`openraas authority show|rotate|retire`: who signs the certificates of boxes, and replacing it."""

from __future__ import annotations

import time
from typing import Any

import click

from common.cli import json_option, print_json
from master.cli.client import Client
from master.cli.output import age, done, duration, listing

_RESTART = (
    "Restart the master (openraas up) so that its own certificate is of the new one, then log in again."
)


@click.group()
def authority() -> None:
    """The internal authority, which signs the certificates of the master and of boxes."""


@authority.command()
@json_option
def show(as_json: bool) -> None:
    """The authority, its successor, and what certificates boxes have."""
    with Client() as client:
        found = client.get("/authority")
    if as_json:
        print_json(found)
        return
    _say(found)
    listing(
        found["certificates"],
        {
            "BOX": lambda item: item["box"],
            "SIGNED BY": lambda item: "successor" if item["of_successor"] else "in office",
            "EXPIRES IN": lambda item: duration(item["expires_at"] - time.time()),
        },
        as_json=False,
        empty="No box has joined.",
    )


@authority.command()
@json_option
def rotate(as_json: bool) -> None:
    """Make a successor. Boxes get certificates of it by themselves; then retire the one in office."""
    with Client() as client:
        found = client.send("POST", "/authority/rotate")
    done(
        "A new authority signs boxes from now on. When all have its certificates (openraas authority show): "
        "openraas authority retire.",
        found,
        as_json=as_json,
    )


@authority.command()
@click.option(
    "--force", is_flag=True, help="Even if boxes have no certificate of the new one; they join anew."
)
@json_option
def retire(force: bool, as_json: bool) -> None:
    """Let the successor take over, once every box has a certificate of it."""
    with Client() as client:
        found = client.send("POST", "/authority/retire", {"force": force})
    done(f"The old authority is retired. {_RESTART}", found, as_json=as_json)


def _say(found: dict[str, Any]) -> None:
    click.echo(
        f"In office: {found['in_office']['fingerprint']}, made {age(found['in_office']['made_at'])} ago"
    )
    if found["successor"]:
        click.echo(
            f"Successor: {found['successor']['fingerprint']}, made {age(found['successor']['made_at'])} ago"
        )
    if found["restart_needed"]:
        click.echo(_RESTART)
