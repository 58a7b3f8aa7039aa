"""`openraas user`: people, for administrators."""

from __future__ import annotations

from typing import Any

import click

from common.cli import json_option
from master.cli.account import show_person
from master.cli.client import Client, part
from master.cli.output import age, done, listing

# Written out, so that the verb needs no database module; a test compares it with UserRole.
ROLES = ("user", "operator", "administrator")


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Who a person is."""
    with Client() as client:
        show_person(client.get(f"/users/{part(name)}"), as_json=as_json)


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
@click.option("--pending", is_flag=True, help="Only those who wait for approval.")
@json_option
def list_command(pending: bool, as_json: bool) -> None:
    """Everybody."""
    narrowed = {"state": "pending"} if pending else {}
    with Client() as client:
        found = client.get_all("/users", "users", **narrowed)
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "ROLE": lambda item: item["role"],
            "STATE": lambda item: item["state"],
            "GROUPS": lambda item: ", ".join(group["group"] for group in item["groups"]) or "-",
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
def link(name: str, as_json: bool) -> None:
    """Make a link with which a person chooses a new password, once; shown once."""
    with Client() as client:
        answer = client.send("POST", f"/users/{part(name)}/reset-link")
    done(f"With this link {name} chooses a password, once: {answer['url']}", answer, as_json=as_json)


@user.command()
@click.argument("name")
@json_option
def approve(name: str, as_json: bool) -> None:
    """Let somebody in who signed up."""
    with Client() as client:
        answer = client.send("PATCH", f"/users/{part(name)}", {"state": "active"})
    done(f"{name} may sign in.", answer, as_json=as_json)


@user.command()
@click.argument("name")
@json_option
def reject(name: str, as_json: bool) -> None:
    """Remove somebody who signed up and was not approved."""
    with Client() as client:
        client.send("DELETE", f"/users/{part(name)}")
    done(f"{name} is rejected.", {"name": name}, as_json=as_json)


@user.command()
@click.argument("name")
@click.argument("new_role", metavar="ROLE", type=click.Choice(ROLES))
@json_option
def role(name: str, new_role: str, as_json: bool) -> None:
    """Give a person another role."""
    with Client() as client:
        answer = client.send("PATCH", f"/users/{part(name)}", {"role": new_role})
    done(f"{name} is {new_role} now.", answer, as_json=as_json)


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
