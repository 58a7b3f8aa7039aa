"""`openraas group`: people who belong together, for administrators and teachers."""

from __future__ import annotations

import click

from common.cli import json_option, print_json
from master.cli.client import Client, part
from master.cli.output import age, done, listing

# Written out, so that the verb needs no database module; a test compares it with GroupRole.
GROUP_ROLES = ("member", "teacher")


@click.group()
def group() -> None:
    """Groups of people: a class, a laboratory."""


@group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """The groups that you are in; all of them for administrators."""
    with Client() as client:
        found = client.get_all("/groups", "groups")
    listing(
        found,
        {
            "NAME": lambda item: item["name"],
            "TITLE": lambda item: item["title"] or "-",
            "PEOPLE": lambda item: item["members"],
            "AGE": lambda item: age(item["created_at"]),
        },
        as_json=as_json,
        empty="There is no group.",
    )


@group.command()
@click.argument("name")
@click.option("--title", default="", help="What people read instead of the name.")
@json_option
def add(name: str, title: str, as_json: bool) -> None:
    """Make a group."""
    with Client() as client:
        answer = client.send("POST", "/groups", {"name": name, "title": title})
    done(f"There is a group {name} now.", answer, as_json=as_json)


@group.command()
@click.argument("name")
@click.option("--title", required=True, help="What people read instead of the name.")
@json_option
def change(name: str, title: str, as_json: bool) -> None:
    """Give a group another title."""
    with Client() as client:
        answer = client.send("PATCH", f"/groups/{part(name)}", {"title": title})
    done(f"{name} is called {title} now.", answer, as_json=as_json)


@group.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Who is in a group."""
    with Client() as client:
        answer = client.get(f"/groups/{part(name)}")
    if as_json:
        print_json(answer)
        return
    listing(
        answer["people"],
        {
            "NAME": lambda item: item["name"],
            "FULL NAME": lambda item: item["full_name"] or "-",
            "IS": lambda item: item["role"],
        },
        as_json=False,
        empty="Nobody is in it.",
    )


@group.command()
@click.argument("name")
@click.argument("people", nargs=-1, required=True)
@click.option("--role", type=click.Choice(GROUP_ROLES), default="member", show_default=True)
@json_option
def join(name: str, people: tuple[str, ...], role: str, as_json: bool) -> None:
    """Add PEOPLE to a group, or change what they are in it."""
    with Client() as client:
        for person in people:
            answer = client.send("PUT", f"/groups/{part(name)}/members/{part(person)}", {"role": role})
    done(f"In {name} as {role}: {', '.join(people)}.", answer, as_json=as_json)


@group.command()
@click.argument("name")
@click.argument("people", nargs=-1, required=True)
@json_option
def leave(name: str, people: tuple[str, ...], as_json: bool) -> None:
    """Take PEOPLE out of a group."""
    with Client() as client:
        for person in people:
            client.send("DELETE", f"/groups/{part(name)}/members/{part(person)}")
    done(
        f"No more in {name}: {', '.join(people)}.", {"group": name, "removed": list(people)}, as_json=as_json
    )


@group.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a group and its limits; its members stay."""
    with Client() as client:
        client.send("DELETE", f"/groups/{part(name)}")
    done(f"The group {name} is removed.", {"name": name}, as_json=as_json)
