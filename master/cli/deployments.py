"""`openraas run`, `ps`, `show`, `stop`: what one runs."""

from __future__ import annotations

import datetime
import time
import uuid
from typing import Any

import click
from rich.console import Console

from common.cli import json_option, print_json
from common.errors import OpenRaaSError
from common.units import parse_duration
from common.words import InstanceState
from master.cli.client import API, Client, part
from master.cli.nearness import measure
from master.cli.output import age, details, done, duration, listing
from master.cli.timeline import Follower
from master.scheduling.order import Priority

WAIT_S = 900.0
POLL_S = 0.5
_WRONG = frozenset({InstanceState.FAILED, InstanceState.LOST})


class NotDone(OpenRaaSError):
    """The deployment did not come where it should in time."""


def _options(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r}: write NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


@click.command()
@click.argument("application")
@click.option(
    "--option", "options", multiple=True, callback=_options, metavar="NAME=VALUE", help="May be repeated."
)
@click.option(
    "--priority",
    type=click.Choice([item.value for item in Priority]),
    default=Priority.NORMAL.value,
    show_default=True,
    help="Its class while it waits for room; high is for operators.",
)
@click.option("--keep", is_flag=True, help="No lease and no idle stop; for operators.")
@click.option("--wait/--no-wait", default=True, help="Follow it until it runs (the default), or not.")
@click.option("--timeout", type=float, default=WAIT_S, show_default=True, help="Seconds to wait at most.")
@json_option
def run(
    application: str,
    options: dict[str, str],
    priority: str,
    keep: bool,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Start APPLICATION, show what happens, and print the address that opens it."""
    with Client() as client:
        # The key lets a call that is sent again after a broken connection start nothing twice.
        deployment = client.request(
            "POST",
            f"{API}/deployments",
            json={
                "application": application,
                "options": options,
                "priority": priority,
                "keep": keep,
                "round_trips_ms": measure(client),
            },
            headers={"Idempotency-Key": uuid.uuid4().hex},
        ).json()
        if wait:
            deployment = _wait(client, deployment["id"], timeout, quiet=as_json)
        state = InstanceState(deployment["state"])
        if as_json:
            url = _url(client, deployment["id"]) if state is InstanceState.RUNNING else None
            print_json({**deployment, "url": url})
        elif state is InstanceState.RUNNING:
            _tell_address(client, deployment)
        else:
            click.echo(
                f"{deployment['id']} is {state.value}. Follow it with: openraas show {deployment['id']}"
            )
    if wait and state in _WRONG:
        raise NotDone(_why(deployment), remedy=f"See openraas show {deployment['id']}.")


def _wait(client: Client, deployment_id: str, timeout_s: float, *, quiet: bool) -> dict[str, Any]:
    """Until it runs, has ended or waits longer than `timeout_s`; raises NotDone then."""
    end = time.monotonic() + timeout_s
    with Follower(quiet=quiet) as follower:
        while True:
            deployment: dict[str, Any] = client.get(f"/deployments/{part(deployment_id)}")
            follower.show(deployment)
            state = InstanceState(deployment["state"])
            if state is InstanceState.RUNNING or state.is_over:
                return deployment
            if time.monotonic() > end:
                raise NotDone(
                    f"{deployment_id} is still {state.value} after {timeout_s:g} s.",
                    remedy=f"It goes on; follow it with: openraas show {deployment_id}",
                )
            time.sleep(POLL_S)


def _tell_address(client: Client, deployment: dict[str, Any]) -> None:
    click.echo(f"{deployment['title']} runs as {deployment['id']}.")
    address = _url(client, deployment["id"])
    if address:
        click.echo("Open it within a minute, once, at")
        click.secho(address, bold=True)
    click.echo(f"Later: {client.target.server}/deployments/{deployment['id']}")


def _url(client: Client, deployment_id: str) -> str | None:
    """The address that opens it, or None for a job, which has no page."""
    try:
        return str(client.send("POST", f"/deployments/{part(deployment_id)}/ticket")["url"])
    except OpenRaaSError as error:
        if error.http_status == 409:
            return None
        raise


def _why(deployment: dict[str, Any]) -> str:
    reasons = [item["error"] or item["reason"] for item in deployment["instances"]]
    text = " ".join(reason for reason in reasons if reason)
    return text or f"{deployment['title']} did not start."


@click.command()
@click.option("--all", "everything", is_flag=True, help="Those that have ended too.")
@click.option("--everybody", is_flag=True, help="Other people's too; for operators.")
@json_option
def ps(everything: bool, everybody: bool, as_json: bool) -> None:
    """What runs."""
    with Client() as client:
        found = client.get("/deployments", running=not everything, everybody=everybody, limit=200)[
            "deployments"
        ]
    columns = {
        "ID": lambda item: item["id"],
        "APPLICATION": lambda item: item["application"],
        "STATE": lambda item: item["state"],
        "WAITS": lambda item: next((_place(i) for i in item["instances"] if i["queue"]), "-"),
        "PRIORITY": lambda item: item["priority"],
        "BOX": lambda item: ",".join(sorted({i["box"] for i in item["instances"] if i["box"]})) or "-",
        "AGE": lambda item: age(item["created_at"]),
    }
    if everybody:
        columns["USER"] = lambda item: item["user"]
    listing(found, columns, as_json=as_json, empty="Nothing runs.")


def _place(instance: dict[str, Any]) -> str:
    """Where a waiting instance stands."""
    queue = instance["queue"]
    return f"{queue['place']} of {queue['waiting']}" if queue["place"] else "?"


def _start(instance: dict[str, Any]) -> str:
    """When a waiting instance should start."""
    start = instance["queue"]["estimated_start"]
    if start is None:
        return "unknown"
    return f"in about {duration(start - time.time(), up=True)}"


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%F %T")


@click.command()
@click.argument("deployment")
@json_option
def show(deployment: str, as_json: bool) -> None:
    """One deployment: where its instances run, why there, and its timeline."""
    with Client() as client:
        item = client.get(f"/deployments/{part(deployment)}")
    if as_json:
        print_json(item)
        return
    details(
        {
            "Deployment": item["id"],
            "Application": item["application"],
            "State": item["state"],
            "Priority": item["priority"],
            "Lease ends": _lease(item),
            "Options": ", ".join(f"{name}={value}" for name, value in item["options"].items()),
        }
    )
    for instance in item["instances"]:
        click.echo()
        details(
            {
                "Instance": instance["id"],
                "Service": instance["service"],
                "Image": instance["image"],
                "State": instance["state"],
                "Box": instance["box"],
                "Why": instance["error"] or instance["reason"],
                "Queue": _place(instance) if instance["queue"] else None,
                "Starts": _start(instance) if instance["queue"] else None,
                "Layers from": ", ".join(instance["depositories"]),
            }
        )
        for mount in instance["mounts"]:
            click.echo(f"  {mount['target']} is {mount['fileset']} ({mount['mode']}) on {mount['filestore']}")
    click.echo()
    Follower(console=Console(highlight=False, soft_wrap=True)).show(item)


def _lease(deployment: dict[str, Any]) -> str:
    """When it ends, and how far that can be put off."""
    if deployment["is_kept"]:
        return "never: an operator keeps it"
    if not deployment["lease_end"]:
        return "it runs from the start on"
    latest = deployment["latest_end"] or 0.0
    more = f" (can be extended until {_moment(latest)})" if latest > deployment["lease_end"] + 1 else ""
    return _moment(deployment["lease_end"]) + more


@click.command()
@click.argument("deployment")
@click.option("--by", help="Such as 2h; default: by as much as its lease was at first.")
@click.option(
    "--keep/--no-keep", default=None, help="No lease and no idle stop, or both again; for operators."
)
@json_option
def extend(deployment: str, by: str | None, keep: bool | None, as_json: bool) -> None:
    """Let the lease of a deployment end later."""
    path = f"/deployments/{part(deployment)}"
    if by is not None and keep is not None:
        raise click.UsageError("Say --by or --keep, not both.")
    by_s = None
    if by is not None:
        try:
            by_s = parse_duration(by)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--by") from error
    with Client() as client:
        if keep is None:
            item = client.send("POST", f"{path}/extend", {"by_s": by_s})
        else:
            item = client.send("PUT", f"{path}/keep", {"kept": keep})
    done(f"The lease of {item['id']} ends: {_lease(item)}.", item, as_json=as_json)


def is_over(deployment: dict[str, Any]) -> bool:
    """Whether nothing more happens to it."""
    return InstanceState(deployment["state"]).is_over


@click.command()
@click.argument("deployment")
@click.option("--wait/--no-wait", default=True, help="Until nothing of it is left (the default), or not.")
@click.option("--timeout", type=float, default=120.0, show_default=True, help="Seconds to wait at most.")
@json_option
def stop(deployment: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Stop a deployment; its home and filesets stay."""
    path = f"/deployments/{part(deployment)}"
    end = time.monotonic() + timeout
    with Client() as client:
        item = client.send("POST", f"{path}/stop")
        while wait and not is_over(item):
            if time.monotonic() > end:
                raise NotDone(
                    f"{deployment} is still {item['state']} after {timeout:g} s.",
                    remedy="It goes on stopping by itself.",
                )
            time.sleep(POLL_S)
            item = client.get(path)
    if as_json:
        print_json(item)
    else:
        click.echo(f"{item['title']} ({item['id']}) is {item['state']}.")
