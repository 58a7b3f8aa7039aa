"""`openraas top`: what the instances of a deployment use."""

from __future__ import annotations

import time
from typing import Any

import click

from common.cli import json_option
from common.units import show_rate, show_size
from master.cli.client import Client, part
from master.cli.output import listing

# Rates are what happens in between.
BETWEEN_S = 1.0


@click.command()
@click.argument("deployment")
@json_option
def top(deployment: str, as_json: bool) -> None:
    """What a running deployment uses now: processor, memory, network."""
    with Client() as client:
        path = f"/deployments/{part(deployment)}"
        running = [item for item in client.get(path)["instances"] if item["state"] == "running"]
        before = {item["id"]: client.get(f"{path}/use", instance=item["id"]) for item in running}
        if running:
            time.sleep(BETWEEN_S)
        rows = [
            {
                "instance": item["id"],
                "service": item["service"],
                "box": item["box"],
                **_use(before[item["id"]], client.get(f"{path}/use", instance=item["id"])),
            }
            for item in running
        ]
    listing(
        rows,
        {
            "INSTANCE": lambda row: row["instance"],
            "SERVICE": lambda row: row["service"],
            "BOX": lambda row: row["box"],
            "CORES": lambda row: f"{row['cores']:.2f}",
            "MEMORY": lambda row: show_size(row["memory_bytes"]),
            "RECEIVES": lambda row: show_rate(row["receives_bps"]),
            "SENDS": lambda row: show_rate(row["sends_bps"]),
        },
        as_json=as_json,
        empty="Nothing of it runs.",
    )


def _use(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    took_s = max(now["at"] - before["at"], 1e-3)
    return {
        "cores": max(0.0, now["cpu_s"] - before["cpu_s"]) / took_s,
        "memory_bytes": now["memory_bytes"],
        "receives_bps": 8 * max(0, now["received_bytes"] - before["received_bytes"]) / took_s,
        "sends_bps": 8 * max(0, now["sent_bytes"] - before["sent_bytes"]) / took_s,
    }
