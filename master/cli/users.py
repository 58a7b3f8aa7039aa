"""`openraas user`: people, for administrators."""

from __future__ import annotations

from typing import Any

import click

from common.cli import json_option
from master.cli.client import Client, part
from master.cli.output import age, done, listing

# Written out, so that the verb needs no database module; a test compares it with UserRole.
ROLES = ("user", "operator", "administrator")


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@json_option
def add(name: str, role: str, as_json: bool) -> None:
    """Add a person; the generated password is shown once."""
    with Client() as client:
        answer = client.send("POST", "/users", {"name": name, "role": role})
    _show_password(answer, as_json=as_json)


@user.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Everybody."""
    with Client() as client:
        found = client.get("/users")["users"]
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "ROLE": lambda item: item["role"],
            "MAY SIGN IN": lambda item: "yes" if item["active"] else "no",
            "AGE": lambda item: age(item["created_at"]),
        },
        as_json=as_json,
        empty="There is nobody.",
    )


@user.command()
@click.argument("name")
@json_option
def reset(name: str, as_json: bool) -> None:
    """Give a new password, shown once; all sign-ins and tokens of this person end."""
    with Client() as client:
        answer = client.send("POST", f"/users/{part(name)}/reset")
    _show_password(answer, as_json=as_json)


@user.command()
@click.argument("name")
@json_option
def disable(name: str, as_json: bool) -> None:
    """Let a person no longer sign in; what runs goes on."""
    with Client() as client:
        answer = client.send("PATCH", f"/users/{part(name)}", {"active": False})
    done(f"{name} may no longer sign in.", answer, as_json=as_json)


@user.command()
@click.argument("name")
@json_option
def enable(name: str, as_json: bool) -> None:
    """Let a person sign in again."""
    with Client() as client:
        answer = client.send("PATCH", f"/users/{part(name)}", {"active": True})
    done(f"{name} may sign in again.", answer, as_json=as_json)


def _show_password(answer: dict[str, Any], *, as_json: bool) -> None:
    done(f"Password of {answer['name']}, shown this once: {answer['password']}", answer, as_json=as_json)
