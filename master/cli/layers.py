"""`openraas layer list|transfers|pin|unpin|evict`: layers on boxes."""

from __future__ import annotations

import time
from typing import Any

import click

from common.cli import json_option
from common.units import show_rate
from master.cli.client import Client
from master.cli.output import age, done, listing, size

# So many are listed unless somebody asks for more; one request asks for so many.
LISTED = 100
PAGE = 1000

_boxes = click.option(
    "--box", "boxes", multiple=True, metavar="BOX", help="Where; may be repeated. Default: everywhere."
)
_name = click.argument("name", metavar="REPO:TAG|DIGEST")


@click.group()
def layer() -> None:
    """Layers of images: who holds them, and until when."""


@layer.command("list")
@click.option("--image", help="Only the layers of REPO:TAG.")
@click.option("--box", help="Only what this box holds.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many. Default: {LISTED}, with --json all.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
def list_layers(
    image: str | None, box: str | None, limit: int | None, everything: bool, as_json: bool
) -> None:
    """Who holds what, when it was last used, and what may go."""
    if limit is None and not everything and not as_json:
        limit = LISTED
    with Client() as client:
        found, total = _fetch(client, {"image": image, "box": box}, None if everything else limit)
    listing(
        found,
        {
            "LAYER": lambda item: item["digest"].removeprefix("sha256:")[:12],
            "SIZE": lambda item: size(item["size_bytes"]),
            "IMAGES": lambda item: ",".join(dict.fromkeys(item["images"])) or "-",
            "COPIES": lambda item: len(item["holders"]),
            "BOXES": lambda item: ", ".join(_holder(holder) for holder in item["holders"]) or "-",
        },
        as_json=as_json,
        empty="No box that is up holds such a layer.",
    )
    if len(found) < total and not as_json:
        click.echo(f"{len(found)} of {total}. All of them: --all; fewer: --image, --box.", err=True)


def _fetch(
    client: Client, which: dict[str, str | None], limit: int | None
) -> tuple[list[dict[str, Any]], int]:
    """Up to `limit` layers, page by page, and how many there are."""
    found: list[dict[str, Any]] = []
    following: int | None = 0
    total = 0
    while following is not None and (limit is None or len(found) < limit):
        most = PAGE if limit is None else min(PAGE, limit - len(found))
        wanted = {name: value for name, value in which.items() if value is not None}
        answer = client.get("/layers", offset=following, limit=most, **wanted)
        found += answer["layers"]
        following, total = answer["next"], answer["total"]
    return found, total


def _holder(holder: dict[str, Any]) -> str:
    facts = [word for word, is_so in (("pinned", holder["pinned"]), ("kept", holder["held"])) if is_so]
    if holder["used_at"] is not None:
        facts.append(f"used {age(holder['used_at'])} ago")
    if holder["goes_at"] is not None:
        left_s = max(0.0, holder["goes_at"] - time.time())
        facts.append(f"goes in {age(time.time() - left_s)}")
    return f"{holder['box']} ({', '.join(facts)})" if facts else str(holder["box"])


@layer.command()
@click.option("--box", help="Only what is on its way to this box.")
@json_option
def transfers(box: str | None, as_json: bool) -> None:
    """What is on its way to which box now, and at which rate from where."""
    with Client() as client:
        answer = client.get("/layers/transfers")
    listing(
        [item for item in answer["transfers"] if box in (None, item["box"])],
        {
            "BOX": lambda item: item["box"],
            "IMAGE": lambda item: item["image"],
            "DONE": lambda item: f"{size(item['done_bytes'])} of {size(item['size_bytes'])}",
            "RATE": lambda item: show_rate(item["rate_bps"]),
            "SOURCES": lambda item: ", ".join(_source(source) for source in item["sources"]) or "-",
        },
        as_json=as_json,
        empty="Nothing is on its way.",
    )
    if answer["more"] and not as_json:
        click.echo(f"Boxes run {answer['more']} more than they tell of.")


def _source(source: dict[str, Any]) -> str:
    facts = [show_rate(source["rate_bps"]), f"gave {size(source['size_bytes'])}"]
    if source["state"] == "banned":
        facts = ["banned: sent bad bytes"]
    elif source["state"] == "left":
        facts = [f"left: {source['detail']}"]
    if source["fetching"]:
        facts.append("fetches it too")
    return f"{source['box']} ({', '.join(facts)})"


@layer.command()
@_name
@_boxes
@json_option
def pin(name: str, boxes: tuple[str, ...], as_json: bool) -> None:
    """Keep an image or a layer on the boxes that hold it, whatever its timer says."""
    with Client() as client:
        answer = client.send("POST", "/layers/pin", {"name": name, "boxes": list(boxes)})
    done(f"{name} is pinned on {', '.join(answer['boxes'])}.", answer, as_json=as_json)


@layer.command()
@_name
@_boxes
@json_option
def unpin(name: str, boxes: tuple[str, ...], as_json: bool) -> None:
    """Let the timer decide again."""
    with Client() as client:
        answer = client.send("POST", "/layers/unpin", {"name": name, "boxes": list(boxes)})
    done(f"{name} is no longer pinned on {', '.join(answer['boxes'])}.", answer, as_json=as_json)


@layer.command()
@_name
@click.option("--box", required=True, metavar="BOX", help="Where it is to go.")
@click.option("--force", is_flag=True, help="Even if too few other boxes hold it, or none.")
@json_option
def evict(name: str, box: str, force: bool, as_json: bool) -> None:
    """Drop an image or a layer on a box, as soon as nothing there needs it."""
    with Client() as client:
        client.send("POST", "/layers/evict", {"name": name, "box": box, "force": force})
    done(f"{box} drops {name}.", {"evicted": name, "box": box}, as_json=as_json)
