"""`openraas fileset`: put, list, get and remove named trees of files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from common.cli import json_option
from common.errors import Unavailable
from common.words import Endpoint
from master.cli.client import CONNECT_S, Client, check, part, unreachable
from master.cli.output import age, done, listing, progress, size
from master.cli.trees import pack, size_of, unpack

# A filestore answers the end of a put once everything lies on its disk.
COMMIT_S = 300.0
# A box tells the master by its next heartbeat what it has taken.
KNOWN_S = 30.0
POLL_S = 0.1


@click.group()
def fileset() -> None:
    """Named trees of files, which applications mount."""


@fileset.command()
@click.argument("name")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--public", is_flag=True, help="Everybody's applications may mount it; for operators.")
@click.option("--to", "boxes", multiple=True, metavar="BOX", help="Filestore; may be repeated.")
@json_option
def put(name: str, directory: Path, public: bool, boxes: tuple[str, ...], as_json: bool) -> None:
    """Put the content of DIR as the fileset NAME, or as its new version."""
    total = size_of(directory)
    body = {"name": name, "public": public, "size_bytes": total, "boxes": list(boxes)}
    with Client() as client:
        begun = client.send("POST", "/filesets", body)
        for transfer in begun["transfers"]:
            with (
                progress(f"{name} to {transfer['box']}", total) as advance,
                _open(client, transfer) as filestore,
            ):
                _put(filestore, transfer["box"], _path(begun), _counted(pack(directory), advance))
        taken = [transfer["box"] for transfer in begun["transfers"]]
        _wait_known(client, name, begun["version"], taken)
    done(
        f"{name} version {begun['version']} ({size(total)}) is on {', '.join(taken)}.",
        {"name": name, "version": begun["version"], "size_bytes": total, "boxes": taken},
        as_json=as_json,
    )


def _wait_known(client: Client, name: str, version: int, boxes: list[str]) -> None:
    """Until the master knows that the boxes hold the version: only then can it be mounted."""
    deadline = time.monotonic() + KNOWN_S
    while True:
        found = client.get(f"/filesets/{part(name)}")
        if found["version"] > version or (found["version"] == version and set(boxes) <= set(found["boxes"])):
            return
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{', '.join(boxes)} took {name}, but did not report it to the master within {KNOWN_S:.0f} s.",
                remedy="See with openraas box list whether the box is up.",
            )
        time.sleep(POLL_S)


def _put(filestore: httpx.Client, box: str, path: str, content: Iterator[bytes]) -> None:
    try:
        check(filestore.put(path, content=content, headers={"Content-Type": "application/x-tar"}))
    except httpx.HTTPError as error:
        raise unreachable(f"The filestore {box}", error) from error


@fileset.command()
@click.argument("name")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@json_option
def get(name: str, directory: Path, as_json: bool) -> None:
    """Write the fileset NAME into the new directory DIR."""
    with Client() as client:
        begun = client.send("POST", f"/filesets/{part(name)}/get")
        transfer = begun["transfer"]
        with progress(name, begun["size_bytes"]) as advance, _open(client, transfer) as filestore:
            try:
                with filestore.stream("GET", _path(begun)) as answer:
                    count = unpack(_counted(check(answer).iter_bytes(), advance), directory)
            except httpx.HTTPError as error:
                raise unreachable(f"The filestore {transfer['box']}", error) from error
    done(
        f"{name} version {begun['version']} ({count} files) is in {directory}.",
        {"name": name, "version": begun["version"], "files": count, "directory": str(directory)},
        as_json=as_json,
    )


@fileset.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Your filesets and public ones."""
    with Client() as client:
        found = client.get("/filesets")["filesets"]
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "KIND": lambda item: item["kind"],
            "VERSION": lambda item: item["version"],
            "SIZE": lambda item: size(item["size_bytes"]),
            "BOXES": lambda item: ",".join(item["boxes"]) or "-",
            "COPIES": lambda item: ", ".join(_copy(*copy) for copy in item["copies"].items()) or "-",
            "OWN": lambda item: "yes" if item["own"] else "no",
            "AGE": lambda item: age(item["created_at"]),
        },
        as_json=as_json,
        empty="There is no fileset. Put one: openraas fileset put NAME DIR.",
    )


@fileset.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a fileset and all copies of it."""
    with Client() as client:
        client.send("DELETE", f"/filesets/{part(name)}")
    done(f"The fileset {name} is removed.", {"removed": name}, as_json=as_json)


def _copy(box: str, at: float | None) -> str:
    """A box that follows a home, and how old what it has is."""
    return f"{box} (on its way)" if at is None else f"{box} ({age(at)} old)"


def _path(begun: dict[str, Any]) -> str:
    return f"/filesets/{begun['fileset']}/{begun['version']}"


def _open(client: Client, transfer: dict[str, Any]) -> httpx.Client:
    front = Endpoint.model_validate(transfer["endpoint"])
    return httpx.Client(
        base_url=front.url,
        headers={"Authorization": f"Bearer {transfer['ticket']}"},
        timeout=httpx.Timeout(COMMIT_S, connect=CONNECT_S),
        verify=client.target.tls() if front.tls else True,
    )


def _counted(pieces: Iterator[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))
