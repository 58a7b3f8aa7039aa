"""`openraas audit`: who changed what, for administrators."""

from __future__ import annotations

import time
from typing import Any

import click

from common.cli import json_option
from common.units import parse_duration
from master.cli.client import Client
from master.cli.limits import Amount
from master.cli.output import age, listing


@click.command()
@click.option("--actor", help="Only what this person changed.")
@click.option("--action", help="As in user.change, or only user.")
@click.option("--subject", help="Part of what was changed, as in user:ada.")
@click.option("--last", "last_s", type=Amount(parse_duration), help="Only of the last, as in 24h.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most."
)
@json_option
def audit(
    actor: str | None,
    action: str | None,
    subject: str | None,
    last_s: float | None,
    limit: int,
    as_json: bool,
) -> None:
    """Who changed what, the newest first."""
    since = time.time() - last_s if last_s else None
    wanted = {"actor": actor, "action": action, "subject": subject, "since": since}
    given = {name: value for name, value in wanted.items() if value is not None}
    with Client() as client:
        found = client.get("/audit", limit=limit, **given)["entries"]
    listing(
        found,
        {
            "AGE": lambda item: age(item["at"]),
            "WHO": lambda item: item["actor"] or "-",
            "FROM": lambda item: item["address"] or "-",
            "ACTION": lambda item: item["action"],
            "WHAT": lambda item: item["subject"],
            "CHANGE": _change,
        },
        as_json=as_json,
        empty="Nothing was found.",
    )


def _change(entry: dict[str, Any]) -> str:
    before, after = entry["before"], entry["after"]
    parts = []
    for name in [*before, *(name for name in after if name not in before)]:
        was, now = before.get(name), after.get(name)
        parts.append(
            f"{name}: {was} → {now}" if name in before and name in after else f"{name}: {was or now}"
        )
    return ", ".join(parts) or "-"
