"""`openraas image mirror|mirrors|forget`: let a depository fetch images from registries elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, BinaryIO

import click

from common.cli import json_option
from common.errors import OpenRaaSError
from common.wishes import MOST_CA
from master.cli.client import Client, part
from master.cli.images import image
from master.cli.output import age, done, listing, progress, size

POLL_S = 0.5
# A depository that fetches says so every few seconds.
SILENT_S = 120.0
FETCHING = "fetching"


class NotMirrored(OpenRaaSError):
    """The depository could not fetch it; its own words say why."""


@image.command()
@click.argument("source", metavar="NAME")
@click.option(
    "--as", "name", metavar="REPO:TAG", help="What to call it here. Default: as it is called there."
)
@click.option("--username", default="", help="Who pulls; the password is asked for.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password (or access token) from standard input."
)
@click.option(
    "--architecture", "architectures", multiple=True, help="May be repeated. Default: those of the fleet."
)
@click.option(
    "--to", "box", metavar="BOX", help="Depository that fetches it. Default: the one with most room."
)
@click.option(
    "--ca",
    type=click.File("rb"),
    metavar="FILE",
    help="Certificate (PEM) of the authority of a private registry; it is asked by TLS only then.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until it is there.")
@json_option
def mirror(
    source: str,
    name: str | None,
    username: str,
    password_stdin: bool,
    architectures: tuple[str, ...],
    box: str | None,
    ca: BinaryIO | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Fetch the image NAME from its registry once for the whole site, such as nginx:1.27 or ghcr.io/team/app:1.

    A depository fetches it; the password is sealed for that box alone. What broke off goes on when asked again.
    """
    password = ""
    if password_stdin:
        password = sys.stdin.read().strip()
    elif username:
        password = click.prompt("Password", hide_input=True, err=True)
    body = {
        "source": source,
        "name": name,
        "architectures": list(architectures),
        "username": username,
        "password": password,
        "box": box,
        "ca": ca.read(MOST_CA).decode(errors="replace") if ca else None,
    }
    with Client() as client:
        answer = client.send("POST", "/mirrors", body)
        if not no_wait:
            answer = _wait(client, answer)
    here = f"{answer['repository']}:{answer['tag']}"
    if no_wait:
        done(f"{answer['box']} fetches {answer['source']} as {here}.", answer, as_json=as_json)
    else:
        total = size(answer["size_bytes"])
        done(f"{answer['source']} ({total}) is on {answer['box']} as {here}.", answer, as_json=as_json)


@image.command()
@json_option
def mirrors(as_json: bool) -> None:
    """What is, or was, fetched from registries elsewhere."""
    with Client() as client:
        found = client.get("/mirrors")["mirrors"]
    listing(
        found,
        {
            "ID": lambda item: item["id"],
            "SOURCE": lambda item: item["source"],
            "AS": lambda item: f"{item['repository']}:{item['tag']}",
            "BOX": lambda item: item["box"],
            "STATE": lambda item: item["state"],
            "DONE": lambda item: f"{size(item['done_bytes'])} of {size(item['size_bytes'])}",
            "AGE": lambda item: age(item["created_at"]),
            "ERROR": lambda item: item["error"],
        },
        as_json=as_json,
        empty="Nothing was mirrored. Begin with: openraas image mirror NAME.",
    )


@image.command()
@click.argument("mirror_id", metavar="ID")
@json_option
def forget(mirror_id: str, as_json: bool) -> None:
    """Stop a mirror that is being fetched, or list one that is over no longer. Its image stays."""
    with Client() as client:
        client.send("DELETE", f"/mirrors/{part(mirror_id)}")
    done(f"{mirror_id} is over, or no longer listed.", {"forgotten": mirror_id}, as_json=as_json)


def _wait(client: Client, answer: dict[str, Any]) -> dict[str, Any]:
    """Until it is over, which may take long, but not while nothing is heard of it. Raises NotMirrored."""
    answer, told = _look(client, answer, 0), 0
    with progress(f"{answer['source']} to {answer['box']}", answer["size_bytes"]) as advance:
        while answer["state"] == FETCHING:
            advance(max(0, answer["done_bytes"] - told))
            told = max(told, answer["done_bytes"])
            answer = _look(client, answer, told)
    if answer["state"] == "failed":
        raise NotMirrored(answer["error"] or "It could not be fetched.")
    return answer


def _look(client: Client, answer: dict[str, Any], told: int) -> dict[str, Any]:
    """Ask until it is over or more than `told` bytes are there. Raises NotMirrored if nothing is heard of it."""
    changed_at, heard = answer["changed_at"], time.monotonic()
    while answer["state"] == FETCHING and answer["done_bytes"] <= told:
        if time.monotonic() - heard > SILENT_S:
            raise NotMirrored(
                f"{answer['box']} has said nothing of {answer['source']} for {SILENT_S:.0f} s.",
                remedy="It goes on by itself when it is back. See openraas box show and openraas image list.",
            )
        time.sleep(POLL_S)
        answer = client.get(f"/mirrors/{answer['id']}")
        if answer["changed_at"] != changed_at:
            changed_at, heard = answer["changed_at"], time.monotonic()
    return answer
