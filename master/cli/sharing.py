"""`openraas share`: let others into what one runs."""

from __future__ import annotations

import time

import click

from common.cli import json_option
from common.units import parse_duration
from common.words import SessionMode
from master.cli.client import Client, part
from master.cli.output import age, done, duration, listing


@click.group()
def share() -> None:
    """Let others into what you run, to watch or to take control."""


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@share.command("new")
@click.argument("deployment")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in SessionMode]),
    default=SessionMode.WATCH.value,
    show_default=True,
    help="Whether what the guest types counts.",
)
@click.option(
    "--for", "lasts_s", default="4h", show_default=True, callback=_seconds, help="How long it holds."
)
@click.option("--account", is_flag=True, help="Only for people with an account here.")
@click.option("--label", default="", help="For yourself: whom it is for.")
@json_option
def new(deployment: str, mode: str, lasts_s: float, account: bool, label: str, as_json: bool) -> None:
    """Invite to DEPLOYMENT: prints a link, which is told only now."""
    body = {"mode": mode, "lasts_s": lasts_s, "needs_account": account, "label": label}
    with Client() as client:
        made = client.send("POST", f"/deployments/{part(deployment)}/shares", body)
    done(made["url"], made, as_json=as_json)


@share.command("list")
@click.argument("deployment")
@json_option
def list_shares(deployment: str, as_json: bool) -> None:
    """The invitations to DEPLOYMENT."""
    with Client() as client:
        found = client.get_all(f"/deployments/{part(deployment)}/shares", "shares")
    listing(
        found,
        {
            "ID": lambda item: item["id"],
            "MODE": lambda item: item["mode"],
            "FOR": lambda item: item["label"],
            "USES": lambda item: item["uses"],
            "STATE": lambda item: _state(item),
            "AGE": lambda item: age(item["created_at"]),
        },
        as_json=as_json,
        empty="Nobody was invited. Begin with: openraas share new DEPLOYMENT.",
    )


def _state(item: dict[str, float | bool | None]) -> str:
    if not item["open"]:
        return "ended"
    return f"open for {duration(float(item['expires_at'] or 0) - time.time())}"


@share.command("end")
@click.argument("deployment")
@click.argument("share_id", metavar="SHARE")
@json_option
def end(deployment: str, share_id: str, as_json: bool) -> None:
    """End the invitation SHARE, and cut off whoever came by it."""
    with Client() as client:
        client.send("DELETE", f"/deployments/{part(deployment)}/shares/{part(share_id)}")
    done(f"{share_id} has ended.", {"ended": share_id}, as_json=as_json)


@share.command("people")
@click.argument("deployment")
@json_option
def people(deployment: str, as_json: bool) -> None:
    """Who is in the sessions of DEPLOYMENT now."""
    with Client() as client:
        found = client.get(f"/deployments/{part(deployment)}/people")["people"]
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "MODE": lambda item: item["mode"],
            "INSTANCE": lambda item: item["instance"],
            "SHARE": lambda item: item["share"],
            "SINCE": lambda item: age(item["since"]),
        },
        as_json=as_json,
        empty="Nobody is there.",
    )


@share.command("join")
@click.argument("deployment")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in SessionMode]),
    default=SessionMode.WATCH.value,
    show_default=True,
)
@json_option
def join(deployment: str, mode: str, as_json: bool) -> None:
    """Join somebody else's DEPLOYMENT where you may without an invitation: prints an address that opens once."""
    with Client() as client:
        answer = client.send("POST", f"/deployments/{part(deployment)}/join", {"mode": mode})
    done(answer["url"], answer, as_json=as_json)
