"""`openraas screens`: what desktops show now."""

from __future__ import annotations

import click

from common.cli import json_option
from master.cli.client import Client
from master.cli.output import listing


@click.command()
@click.option("--everybody", is_flag=True, help="Other people's too; for operators.")
@click.option("--group", default="", help="Those of the members of a group; for its teachers.")
@json_option
def screens(everybody: bool, group: str, as_json: bool) -> None:
    """Desktops that run, each with an address at which a small picture of it is had for some minutes."""
    with Client() as client:
        found = client.get_all("/screens", "screens", everybody=everybody, group=group)
    columns = {
        "DEPLOYMENT": lambda item: item["deployment"],
        "TITLE": lambda item: item["title"],
        "USER": lambda item: item["user"],
        "BOX": lambda item: item["box"],
        "PICTURE": lambda item: item["picture"],
    }
    listing(found, columns, as_json=as_json, empty="No desktop runs.")
