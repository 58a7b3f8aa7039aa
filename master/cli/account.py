"""`openraas account`: oneself, and where one is signed in."""

from __future__ import annotations

from typing import Any

import click

from common.cli import json_option, print_json
from master.cli.client import Client, part
from master.cli.output import age, details, done, listing


@click.group()
def account() -> None:
    """Who you are here, and where you are signed in."""


@account.command()
@json_option
def show(as_json: bool) -> None:
    """Who you are, and what your token may do."""
    with Client() as client:
        show_person(client.get("/me"), as_json=as_json)


def show_person(person: dict[str, Any], *, as_json: bool) -> None:
    """A person, one fact per line."""
    if as_json:
        print_json(person)
        return
    facts: dict[str, object] = {
        "Name": person["name"],
        "Full name": person["full_name"] or "-",
        "E-mail": person["email"] or "-",
        "Role": person["role"],
        "State": person["state"],
    }
    if person.get("scopes"):
        facts["Token"] = ", ".join(person["scopes"])
    details(facts)


@account.command()
@click.option("--full-name")
@click.option("--email")
@click.option("--language", help="Of the pages, as in de; '' is the browser's.")
@click.option("--time-zone", help="As in Europe/Berlin.")
@json_option
def change(as_json: bool, **values: str | None) -> None:
    """Change what stands of you; what is left out stays."""
    body = {name: value for name, value in values.items() if value is not None}
    if not body:
        raise click.UsageError("Say what to change, as in --full-name.")
    with Client() as client:
        answer = client.send("PATCH", "/me", body)
    done("It is changed.", answer, as_json=as_json)


@account.command()
@click.option(
    "--current", prompt="Password now", hide_input=True, help="Asked for if left out, as is better."
)
@click.option("--new", prompt="New password", hide_input=True, confirmation_prompt=True)
@json_option
def password(current: str, new: str, as_json: bool) -> None:
    """Change your password; all sign-ins in browsers end."""
    with Client() as client:
        client.send("POST", "/me/password", {"current": current, "new": new})
    done("The password is changed. Sign in anew in your browsers.", {"changed": True}, as_json=as_json)


@account.command()
@json_option
def sessions(as_json: bool) -> None:
    """Browsers in which you are signed in."""
    with Client() as client:
        found = client.get_all("/me/sessions", "sessions")
    listing(
        found,
        {
            "ID": lambda item: item["id"],
            "ADDRESS": lambda item: item["address"],
            "BROWSER": lambda item: item["browser"],
            "SEEN": lambda item: age(item["seen_at"]),
        },
        as_json=as_json,
        empty="You are signed in in no browser.",
    )


@account.command("sign-out")
@click.argument("session", required=False)
@click.option("--all", "everywhere", is_flag=True, help="In every browser.")
@json_option
def sign_out(session: str | None, everywhere: bool, as_json: bool) -> None:
    """End the sign-in SESSION, or all of them."""
    if (session is None) != everywhere:
        raise click.UsageError("Name one of openraas account sessions, or say --all.")
    with Client() as client:
        client.send("DELETE", "/me/sessions" if session is None else f"/me/sessions/{part(session)}")
    done("Signed out.", {"ended": session or "all"}, as_json=as_json)
