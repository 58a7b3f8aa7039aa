"""`openraas queue`: who waits for room."""

from __future__ import annotations

import time
from typing import Any

import click

from common.cli import json_option
from master.cli.client import Client
from master.cli.output import age, duration, listing


@click.command()
@json_option
def queue(as_json: bool) -> None:
    """Who waits for room, in the order in which they are served."""
    with Client() as client:
        found = client.get("/queue")["items"]
    listing(
        found,
        {
            "PLACE": lambda item: item["place"] or "?",
            "APPLICATION": lambda item: item["title"] or "(somebody else's)",
            "USER": lambda item: item["user"] or "-",
            "PRIORITY": lambda item: item["priority"],
            "WAITS": lambda item: age(item["asked_at"]),
            "STARTS": _start,
            "WHY": lambda item: item["reason"] or "-",
        },
        as_json=as_json,
        empty="Nobody waits.",
    )


def _start(item: dict[str, Any]) -> str:
    if item["estimated_start"] is None:
        return "unknown"
    return f"in about {duration(item['estimated_start'] - time.time(), up=True)}"
