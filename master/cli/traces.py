"""`openraas trace export`: what happened on this platform, to be replayed by the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from common.cli import json_option
from common.errors import BadInput
from master.catalogue.manifest import Manifest
from master.cli.client import Client, part
from master.cli.output import done
from master.simulation.exporting import SCENARIO_FILE, TRACE_FILE, instances_of, scenario_yaml, trace_csv

_PAGE = 200


@click.group()
def trace() -> None:
    """What happened here, as a trace."""


@trace.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@json_option
def export(directory: Path, as_json: bool) -> None:
    """Write a scenario and the trace of every instance that has run into DIRECTORY; for operators.

    Replay it with: openraas simulate DIRECTORY/scenario.yaml
    """
    with Client() as client:
        started = [item for deployment in _deployments(client) for item in instances_of(deployment)]
        manifests = {
            item["name"]: Manifest.model_validate(
                client.get(f"/applications/{part(item['name'])}")["manifest"]
            )
            for item in client.get("/applications")["applications"]
        }
        boxes, layers = client.get("/boxes")["boxes"], client.get("/layers")["layers"]
    texts = {
        TRACE_FILE: trace_csv(started, manifests),
        SCENARIO_FILE: scenario_yaml(boxes, layers, manifests, started),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{directory} cannot be written: {error.strerror}.", field="directory") from error
    path = directory / SCENARIO_FILE
    done(
        f"Replay it with: openraas simulate {path}",
        {"scenario": str(path), "instances": len(started)},
        as_json=as_json,
    )


def _deployments(client: Client) -> Iterator[dict[str, Any]]:
    """All of them, with their timelines."""
    offset = 0
    while True:
        page = client.get("/deployments", everybody=True, limit=_PAGE, offset=offset)["deployments"]
        for item in page:
            yield client.get(f"/deployments/{part(item['id'])}")
        if len(page) < _PAGE:
            return
        offset += _PAGE
