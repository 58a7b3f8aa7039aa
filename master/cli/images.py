"""`openraas image`: push, import, list and remove."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from common.cli import json_option
from common.errors import BadInput, Unavailable
from common.oci.archive import Archive, open_archive
from common.oci.layers import LayerCache, Packing
from common.words import REPOSITORY, TAG, Endpoint, Role
from master.cli import engine
from master.cli.client import Client, part
from master.cli.output import age, done, listing, progress, size
from master.cli.registry import Depository

# Two copies: an image survives the loss of a box, and its layers come from both at once.
COPIES = 2

_REPOSITORY, _TAG = re.compile(REPOSITORY), re.compile(TAG)


@click.group()
def image() -> None:
    """Images in the depositories."""


_to = click.option(
    "--to", "boxes", multiple=True, metavar="BOX", help="Depository; may be repeated. Default: two with room."
)
_architectures = click.option(
    "--architecture",
    "architectures",
    multiple=True,
    help="Only this one, if the archive holds several; may be repeated. Default: all.",
)
_recompress = click.option(
    "--recompress",
    type=click.Choice([item.value for item in Packing]),
    help="Pack all layers so. zstd is smaller and quicker to unpack, for engines that know it; "
    "none suits a quick network and slow processors.",
)


@image.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.argument("name", metavar="REPO:TAG")
@_to
@_architectures
@_recompress
@json_option
def push(
    path: Path,
    name: str,
    boxes: tuple[str, ...],
    architectures: tuple[str, ...],
    recompress: str | None,
    as_json: bool,
) -> None:
    """Push the image in PATH (what `docker save` writes, or an OCI layout) as REPO:TAG.

    A layout of several platforms is pushed with all of them; each box fetches its own.
    """
    repository, tag = split(name)
    packing, cache = Packing(recompress) if recompress else None, layer_cache()
    opened = open_archive(path, architectures=architectures, packing=packing, cache=cache)
    with Client() as client, opened as archive:
        _push(client, archive, repository, tag, boxes, cache, as_json=as_json)


@image.command("import")
@click.argument("name", metavar="REPO:TAG")
@_to
@_recompress
@json_option
def import_(name: str, boxes: tuple[str, ...], recompress: str | None, as_json: bool) -> None:
    """Push the image REPO:TAG of this machine's container engine."""
    repository, tag = split(name)
    packing, cache = Packing(recompress) if recompress else None, layer_cache()
    with (
        Client() as client,
        engine.export(f"{repository}:{tag}") as path,
        open_archive(path, packing=packing, cache=cache) as archive,
    ):
        _push(client, archive, repository, tag, boxes, cache, as_json=as_json)


def layer_cache() -> LayerCache:
    """What packing layers gave before, in the person's own cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return LayerCache(Path(base) / "openraas" / "layers.json")


def split(name: str) -> tuple[str, str]:
    """Repository and tag; raises BadInput for what is no name of an image."""
    repository, colon, tag = name.partition(":")
    tag = tag if colon else "latest"
    if not _REPOSITORY.fullmatch(repository) or not _TAG.fullmatch(tag):
        raise BadInput(
            f"{name!r} is not the name of an image.", field="REPO:TAG", remedy="Write it like notebook:1.0."
        )
    return repository, tag


def _push(
    client: Client,
    archive: Archive,
    repository: str,
    tag: str,
    boxes: Sequence[str],
    cache: LayerCache,
    *,
    as_json: bool,
) -> None:
    chosen = _choose(client, boxes)
    total = archive.size_bytes
    for box, front in chosen.items():
        with (
            Depository(client, box, front, repository, cache) as depository,
            progress(f"{repository}:{tag} to {box}", total) as advance,
        ):
            depository.push(archive, tag, advance)
    answer = {
        "repository": repository,
        "tag": tag,
        "digest": archive.digest,
        "architectures": archive.architectures,
        "size_bytes": total,
        "boxes": list(chosen),
    }
    done(f"{repository}:{tag} ({size(total)}) is on {', '.join(chosen)}.", answer, as_json=as_json)


def _choose(client: Client, wanted: Sequence[str]) -> dict[str, Endpoint]:
    """Where to push: the depositories named, else the two fixed ones with most room."""
    boxes = {item["id"]: item for item in client.get("/boxes")["boxes"]}
    for box in wanted:
        if box not in boxes or not _serves(boxes[box]):
            raise Unavailable(
                f"{box} is not a depository that is up.", field="--to", remedy="See openraas box list."
            )
    if not wanted:
        able = [item for item in boxes.values() if _serves(item) and not item["cordoned"]]
        able.sort(key=lambda item: (not item["fixed"], -_free(item), item["id"]))
        wanted = [item["id"] for item in able[:COPIES]]
    if not wanted:
        raise Unavailable("No depository is up.", remedy="Join one: openraas box join MASTER TOKEN.")
    return {box: Endpoint.model_validate(boxes[box]["status"]["front"]) for box in dict.fromkeys(wanted)}


def _serves(item: dict[str, Any]) -> bool:
    status = item["status"]
    return bool(status and Role.DEPOSITORY.value in status["roles"] and status["front"])


def _free(item: dict[str, Any]) -> int:
    disk = item["status"]["disk"]
    return int(disk["lent_bytes"] - disk["blobs_bytes"] - disk["engine_bytes"] - disk["filesets_bytes"])


@image.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """What can be deployed."""
    with Client() as client:
        found = client.get("/images")["images"]
    listing(
        found,
        {
            "IMAGE": lambda item: f"{item['repository']}:{item['tag']}",
            "DIGEST": lambda item: item["digest"].removeprefix("sha256:")[:12],
            "ARCHITECTURE": lambda item: ",".join(item["architectures"]) or "-",
            "SIZE": lambda item: size(item["size_bytes"]),
            "LAYERS": lambda item: item["layers"],
            "BOXES": lambda item: ",".join(item["boxes"]) or "-",
            "OWNER": lambda item: item["owner"] or "-",
            "AGE": lambda item: age(item["changed_at"]),
        },
        as_json=as_json,
        empty="There is no image. Push one: openraas image push PATH REPO:TAG.",
    )


@image.command()
@click.argument("name", metavar="REPO:TAG")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a tag; with its last one the depositories drop the image."""
    repository, tag = split(name)
    with Client() as client:
        client.send("DELETE", f"/images/tags/{part(repository)}/{part(tag)}")
    done(f"{repository}:{tag} is removed.", {"removed": f"{repository}:{tag}"}, as_json=as_json)
