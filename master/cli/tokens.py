"""`openraas token`: one's own API tokens."""

from __future__ import annotations

from typing import Any

import click

from common.cli import json_option
from common.units import parse_duration
from master.cli.client import Client, part
from master.cli.limits import Amount
from master.cli.output import age, done, duration, listing

# Written out, so that the verb needs no database module; a test compares it with Scope.
SCOPES = ("all", "read", "deploy", "files", "images", "fleet", "account", "people")


@click.group()
def token() -> None:
    """API tokens, for programs and other machines."""


@token.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Your tokens, without their secrets."""
    with Client() as client:
        found = client.get_all("/me/tokens", "tokens")
    listing(
        found,
        {
            "ID": lambda item: item["id"],
            "NAME": lambda item: item["name"],
            "MAY": lambda item: ", ".join(item["scopes"]),
            "AGE": lambda item: age(item["created_at"]),
            "USED": lambda item: f"{age(item['used_at'])} ago" if item["used_at"] else "never",
        },
        as_json=as_json,
        empty="You have none.",
    )


@token.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="May be repeated; none: everything."
)
@click.option("--ttl", "ttl_s", type=Amount(parse_duration), help="As in 30d; none: until it is revoked.")
@json_option
def add(name: str, scopes: tuple[str, ...], ttl_s: float | None, as_json: bool) -> None:
    """Make a token; it is shown once."""
    body: dict[str, Any] = {"name": name, "scopes": list(scopes) or ["all"], "ttl_s": ttl_s}
    with Client() as client:
        answer = client.send("POST", "/me/tokens", body)
    held = f"It holds for {duration(ttl_s)}. " if ttl_s else ""
    done(f"{held}Shown this once: {answer['token']}", answer, as_json=as_json)


@token.command()
@click.argument("id_", metavar="ID")
@json_option
def revoke(id_: str, as_json: bool) -> None:
    """End a token."""
    with Client() as client:
        client.send("DELETE", f"/me/tokens/{part(id_)}")
    done(f"The token {id_} is revoked.", {"id": id_}, as_json=as_json)
