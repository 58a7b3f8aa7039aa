"""`openraas simulation …`: let the master simulate, and get what came out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import yaml

from common.cli import json_option, print_json
from common.errors import BadInput, OpenRaaSError
from master.cli.client import Client, part
from master.cli.output import age, details, done, listing, size, table

POLL_S = 1.0
OVER = frozenset({"done", "failed", "stopped"})
# Nothing takes longer there, by the setting of the master that limits it; this is the end of our patience.
PATIENCE_S = 24 * 3600.0


class NotSimulated(OpenRaaSError):
    """It failed or was stopped; the message is the master's."""


@click.group()
def simulation() -> None:
    """Simulations that run on the master, where everybody who may sees them."""


@simulation.command()
@click.argument("scenario")
@click.option("--policy", "policies", default="nearest,start-soonest", show_default=True, metavar="A,B,…",
              help="Policies to compare; `all` takes every registered one.")  # fmt: skip
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--first-seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a figure of the scenario, such as people.count=200; may be repeated.")  # fmt: skip
@click.option("--no-wait", is_flag=True, help="Do not wait until it is done.")
@json_option
def run(
    scenario: str,
    policies: str,
    seeds: int,
    first_seed: int,
    settings: tuple[str, ...],
    no_wait: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO (a file, or one that comes along) on the master with each policy and each seed."""
    body = {
        **_scenario(scenario),
        "settings": list(settings),
        "policies": [name.strip() for name in policies.split(",")],
        "seeds": seeds,
        "first_seed": first_seed,
    }
    with Client() as client:
        answer = client.send("POST", "/simulations", body)
        if no_wait:
            done(
                f"{answer['id']} waits. See: openraas simulation show {answer['id']}", answer, as_json=as_json
            )
            return
        answer = _wait(client, answer)
    _tell(answer, as_json=as_json)


@simulation.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """What waits, runs or was run lately."""
    with Client() as client:
        found = client.get_all("/simulations", "simulations")
    listing(
        found,
        {
            "ID": lambda item: item["id"],
            "SCENARIO": lambda item: item["name"],
            "POLICIES": lambda item: ",".join(item["policies"]),
            "SEEDS": lambda item: item["seeds"],
            "STATE": lambda item: item["state"],
            "DONE": lambda item: f"{item['done_steps']} of {item['steps']}" if item["steps"] else "-",
            "BY": lambda item: item["user"],
            "AGE": lambda item: age(item["created_at"]),
            "ERROR": lambda item: item["error"],
        },
        as_json=as_json,
        empty="Nothing was simulated. Begin with: openraas simulation run openraas-paper.",
    )


@simulation.command()
@click.argument("simulation_id", metavar="ID")
@json_option
def show(simulation_id: str, as_json: bool) -> None:
    """How far it is, and what came out."""
    with Client() as client:
        _tell(client.get(f"/simulations/{part(simulation_id)}"), as_json=as_json)


@simulation.command()
@click.argument("simulation_id", metavar="ID")
@click.argument("file")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Default: the file's own name.")
def get(simulation_id: str, file: str, to: Path | None) -> None:
    """Write FILE of a simulation (report.html, figures.csv, …; `show` names them) to a file here."""
    path = to or Path(file)
    with Client() as client:
        answer = client.request("GET", f"/api/v1/simulations/{part(simulation_id)}/files/{part(file)}")
    try:
        path.write_bytes(answer.content)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", field="to") from error
    click.echo(f"Written: {path}")


@simulation.command()
@click.argument("simulation_id", metavar="ID")
@json_option
def stop(simulation_id: str, as_json: bool) -> None:
    """Run it no further."""
    with Client() as client:
        answer = client.send("POST", f"/simulations/{part(simulation_id)}/stop")
    done(f"{simulation_id} was stopped.", answer, as_json=as_json)


@simulation.command()
@click.argument("simulation_id", metavar="ID")
@json_option
def remove(simulation_id: str, as_json: bool) -> None:
    """Forget it with its results; one that runs is ended."""
    with Client() as client:
        client.send("DELETE", f"/simulations/{part(simulation_id)}")
    done(f"{simulation_id} was removed.", {"removed": simulation_id}, as_json=as_json)


def _scenario(name: str) -> dict[str, str]:
    """A file's text, with the trace beside it that it names; or the name of one that comes along."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return {"name": name}
    try:
        text = path.read_text(encoding="utf-8")
        body = {"text": text}
        values = yaml.safe_load(text)
        trace = values.get("trace") if isinstance(values, dict) else None
        if isinstance(trace, dict) and isinstance(trace.get("file"), str):
            body["trace"] = (path.parent / trace["file"]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name} cannot be read: {error}.", field="scenario") from error
    except yaml.YAMLError:
        return {"text": text}  # the master says with line and key what is wrong with it
    return body


def _wait(client: Client, answer: dict[str, Any]) -> dict[str, Any]:
    """Until it is over. Raises NotSimulated."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    end = time.monotonic() + PATIENCE_S
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(answer["state"], total=None)
        while answer["state"] not in OVER:
            if time.monotonic() > end:
                raise NotSimulated(
                    f"{answer['id']} is not done after a day.",
                    remedy=f"See openraas simulation show {answer['id']}.",
                )
            time.sleep(POLL_S)
            answer = client.get(f"/simulations/{part(answer['id'])}")
            bar.update(
                task,
                description=answer["state"],
                completed=answer["done_steps"],
                total=answer["steps"] or None,
            )
    if answer["state"] != "done":
        raise NotSimulated(answer["error"] or f"{answer['id']} was stopped.")
    return answer


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    steps = f"{answer['done_steps']} of {answer['steps']}" if answer["steps"] else None
    details(
        {
            "Simulation": answer["id"],
            "Scenario": answer["name"],
            "State": answer["state"],
            "Steps": steps,
            "Error": answer["error"],
            "Files": ", ".join(f"{name} ({size(length)})" for name, length in answer["files"].items()),
        }
    )
    if (summary := answer["summary"]) is None:
        return
    click.echo("")
    table(summary["headers"], summary["rows"])
    for text in [summary["caution"], *summary["lacking"]]:
        if text:
            click.echo(f"\nCaution: {text}")
