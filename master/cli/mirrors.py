"""`openraas image mirror`: let a depository fetch an image from a registry elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from common.cli import json_option
from common.errors import OpenRaaSError
from master.cli.client import Client
from master.cli.images import image
from master.cli.output import done, progress, size

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
@click.option("--no-wait", is_flag=True, help="Do not wait until it is there.")
@json_option
def mirror(
    source: str,
    name: str | None,
    username: str,
    password_stdin: bool,
    architectures: tuple[str, ...],
    box: str | None,
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
