"""`openraas app` and `openraas manifest`: the catalogue."""

from __future__ import annotations

from pathlib import Path

import click

from common.cli import json_option, print_json
from common.errors import BadInput
from master.cli.client import Client, part
from master.cli.output import details, done, listing


@click.group()
def app() -> None:
    """The applications in the catalogue."""


@app.command()
@click.argument("manifest", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def add(manifest: Path, as_json: bool) -> None:
    """Publish the application that the file MANIFEST (YAML or JSON) describes, or a new version of it."""
    try:
        text = manifest.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{manifest} is not text: {error}.", field="MANIFEST", remedy="Give a YAML or JSON file."
        ) from error
    with Client() as client:
        answer = client.send("POST", "/applications", {"manifest": text})
    for warning in answer["warnings"]:
        click.echo(f"openraas: not there yet: {warning}", err=True)
    done(
        f"{answer['title']} is in the catalogue. Start it with: openraas run {answer['name']}",
        answer,
        as_json=as_json,
    )


@app.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """What can be started."""
    with Client() as client:
        found = client.get("/applications")["applications"]
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "TITLE": lambda item: item["title"],
            "BY": lambda item: item["published_by"] or "-",
            "DESCRIPTION": lambda item: item["description"].splitlines()[0] if item["description"] else "",
        },
        as_json=as_json,
        empty="The catalogue is empty. Publish something: openraas app add MANIFEST.",
    )


@app.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """One application and the options with which it is started."""
    with Client() as client:
        answer = client.get(f"/applications/{part(name)}")
    if as_json:
        print_json(answer)
        return
    manifest = answer["manifest"]
    details(
        {
            "Name": answer["name"],
            "Title": answer["title"],
            "Description": answer["description"],
            "Published by": answer["published_by"] or "-",
            "Services": ", ".join(manifest["services"]),
            "Images": ", ".join(sorted({item["image"] for item in manifest["services"].values()})),
        }
    )
    for option in manifest.get("options", []):
        default = option.get("default")
        without = "needed" if option["required"] else "optional"
        told = f"default {default}" if default is not None else without
        click.echo(
            f"  --option {option['name']}=…  {option['title'] or option['name']} ({option['type']}, {told})"
        )


@app.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Take an application out of the catalogue; what runs of it goes on."""
    with Client() as client:
        client.send("DELETE", f"/applications/{part(name)}")
    done(f"{name} is no longer in the catalogue.", {"removed": name}, as_json=as_json)


@click.group()
def manifest() -> None:
    """How applications are described."""


@manifest.command()
def schema() -> None:
    """Print the JSON Schema of manifests, for editors and checkers."""
    from master.catalogue.manifest import json_schema

    print_json(json_schema())
