"""`openraas limit`: how much people and groups may use at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from common.cli import json_option, print_json
from common.units import parse_duration, parse_size
from master.cli.client import Client, part
from master.cli.output import done, duration, listing, size

_SUBJECT = "`everybody`, `person:NAME`, `members:GROUP` (each member) or `group:GROUP` (all together)"
NONE = "none"


class Amount(click.ParamType[Any]):
    """A number with its unit, or `none` for what is not limited here."""

    name = "amount"

    def __init__(self, parse: Callable[[str], float]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or `none` as it is."""
        if not isinstance(value, str) or value == NONE:
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def limit() -> None:
    """How much people and groups may use at once."""


@limit.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """All limits; for administrators."""
    with Client() as client:
        found = client.get_all("/limits", "limits")
    listing(
        found,
        {
            "OF": lambda item: item["subject"],
            "DEPLOYMENTS": lambda item: item["deployments"],
            "CPU": lambda item: item["cpu"],
            "MEMORY": lambda item: size(item["memory_bytes"]),
            "DISK": lambda item: size(item["disk_bytes"]),
            "GPU": lambda item: item["gpu"],
            "LONGEST RUN": lambda item: duration(item["lease_s"]) if item["lease_s"] else None,
        },
        as_json=as_json,
        empty="Nobody is limited.",
    )


@limit.command(help=f"What bounds you, and how much of it you use; or what is said of SUBJECT: {_SUBJECT}.")
@click.argument("subject", required=False)
@json_option
def show(subject: str | None, as_json: bool) -> None:
    """What is allowed."""
    with Client() as client:
        if subject is not None:
            _show_limit(client.get(f"/limits/{part(subject)}"), as_json=as_json)
            return
        answer = client.get("/me/limits")
    if as_json:
        print_json(answer)
        return
    rows = list(answer["bounds"])
    if answer["lease_s"]:
        rows.append({"amount": "lease_s", "limit": answer["lease_s"], "used": None, "of": "-"})
    listing(
        rows,
        {
            "WHAT": lambda item: item["amount"].removesuffix("_bytes").removesuffix("_s"),
            "LIMIT": lambda item: _amount(item["amount"], item["limit"]),
            "IN USE": lambda item: _amount(item["amount"], item["used"]),
            "BY THE LIMIT OF": lambda item: item["of"],
        },
        as_json=False,
        empty="You are not limited.",
    )


def _show_limit(answer: dict[str, Any], *, as_json: bool) -> None:
    rows = [
        {"amount": name, "limit": value} for name, value in answer.items() if isinstance(value, int | float)
    ]
    columns = {
        "WHAT": lambda item: item["amount"].removesuffix("_bytes").removesuffix("_s"),
        "LIMIT": lambda item: _amount(item["amount"], item["limit"]),
    }
    listing(rows if not as_json else [answer], columns, as_json=as_json, empty="It says nothing.")


def _amount(name: str, value: float | None) -> str | None:
    if value is None:
        return None
    if name.endswith("_bytes"):
        return size(int(value))
    return duration(value) if name.endswith("_s") else f"{value:g}"


@limit.command("set", help=f"Set what stands in the options for SUBJECT: {_SUBJECT}. `none` takes it away.")
@click.argument("subject")
@click.option("--deployments", type=Amount(int), help="How many at once.")
@click.option("--cpu", type=Amount(float), help="Cores at once.")
@click.option("--memory", "memory_bytes", type=Amount(parse_size), help="As in 8GiB.")
@click.option("--disk", "disk_bytes", type=Amount(parse_size), help="As in 20GiB.")
@click.option("--gpu", type=Amount(int), help="GPUs at once.")
@click.option("--lease", "lease_s", type=Amount(parse_duration), help="How long one may run, as in 4h.")
@json_option
def set_command(subject: str, as_json: bool, **values: float | str | None) -> None:
    """Set a limit."""
    body = {name: None if value == NONE else value for name, value in values.items() if value is not None}
    if not body:
        raise click.UsageError("Say what to set, as in --cpu 4.")
    with Client() as client:
        answer = client.send("PATCH", f"/limits/{part(subject)}", body)
    done(f"The limit of {subject} is set. What runs goes on.", answer, as_json=as_json)


@limit.command()
@click.argument("subject")
@json_option
def remove(subject: str, as_json: bool) -> None:
    """Take the limit of SUBJECT away."""
    with Client() as client:
        client.send("DELETE", f"/limits/{part(subject)}")
    done(f"The limit of {subject} is removed.", {"subject": subject}, as_json=as_json)
