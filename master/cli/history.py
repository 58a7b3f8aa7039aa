"""`openraas history`: what is learnt from starts."""

from __future__ import annotations

import click

from common.cli import json_option
from master.cli.client import Client
from master.cli.output import listing


@click.group()
def history() -> None:
    """What starts were expected to take, and what they took."""


@history.command()
@json_option
def accuracy(as_json: bool) -> None:
    """How far the predictions of the last thousand starts were off, by application."""
    with Client() as client:
        rows = client.get("/history/accuracy")["rows"]
    listing(
        rows,
        {
            "APPLICATION": lambda row: row["application"] or "(all)",
            "STARTS": lambda row: row["starts"],
            "PREDICTED": lambda row: f"{row['predicted_s']:.2f} s",
            "TOOK": lambda row: f"{row['took_s']:.2f} s",
            "ERROR": lambda row: f"{row['error']:.0%}",
        },
        as_json=as_json,
        empty="Nothing was started yet for which there is a prediction.",
    )
