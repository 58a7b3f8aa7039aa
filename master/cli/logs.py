"""`openraas logs`: what the containers of a deployment print."""

from __future__ import annotations

import json
import time
from typing import Any

import click
import httpx

from common.cli import json_option, print_json
from common.errors import BadInput, Conflict, NotFound
from common.output import DEFAULT_LINES, MOST_LINES
from master.cli.client import BrokenOff, Client, Refused, part
from master.cli.deployments import POLL_S, is_over

# Longer than the master lets anybody follow at one go (its log_follow_s), so that the master ends it.
SILENCE_S = 2 * 3600.0
# There is no container yet, or there never was one.
_NO_OUTPUT = frozenset({Conflict.http_status, NotFound.http_status})


@click.command()
@click.argument("deployment")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended.")
@click.option(
    "--tail",
    type=click.IntRange(0, MOST_LINES),
    default=DEFAULT_LINES,
    show_default=True,
    help="Begin so many lines before the end.",
)
@click.option("--instance", help="Only this one; needed with -f where there are several.")
@json_option
def logs(deployment: str, follow: bool, tail: int, instance: str | None, as_json: bool) -> None:
    """What a deployment prints; `openraas show` tells what happened to it."""
    with Client() as client:
        if not follow:
            _print_kept(client, deployment, instance, tail, as_json=as_json)
            return
        try:
            _Follower(client, deployment, instance, as_json=as_json).run(tail)
        except KeyboardInterrupt:
            return  # how one ends it


def _print_kept(client: Client, deployment: str, instance: str | None, tail: int, *, as_json: bool) -> None:
    path = f"/deployments/{part(deployment)}"
    found = client.get(path)["instances"]
    names = [item["id"] for item in found] if instance is None else [instance]
    lines = []
    for name in names:
        with client.stream(f"{path}/logs", tail=tail, instance=name) as answer:
            if as_json:
                lines += [{"instance": name, "text": line} for line in answer.iter_lines()]
                continue
            if len(names) > 1:
                click.secho(f"==> {name} <==", bold=True)
            _print_text(answer)
    if as_json:
        print_json(lines)


def _print_text(answer: httpx.Response) -> None:
    for text in answer.iter_text():
        click.echo(text, nl=False)


class _Follower:
    """Prints what an instance prints until it has ended, also over a new try of it elsewhere."""

    def __init__(self, client: Client, deployment: str, instance: str | None, *, as_json: bool) -> None:
        self._client = client
        self._path = f"/deployments/{part(deployment)}"
        self._instance = instance
        self._as_json = as_json
        self._seen: int | None = None

    def run(self, tail: int) -> None:
        """`tail` lines of each try, then what follows. Raises BadInput, Refused or Unavailable."""
        while True:
            item = self._client.get(self._path)
            instance = self._pick(item)
            known = instance["generation"] == self._seen
            if known and is_over(item):
                return
            try:
                self._print(instance, 0 if known else tail)
            except BrokenOff as error:
                click.echo(f"openraas: {error} Some lines may be missing.", err=True)
            except Refused as error:
                if error.http_status not in _NO_OUTPUT:
                    raise
                if is_over(item):
                    click.echo(f"openraas: {error}", err=True)
                    return
            time.sleep(POLL_S)

    def _pick(self, item: dict[str, Any]) -> dict[str, Any]:
        found = {instance["id"]: instance for instance in item["instances"]}
        name = self._instance or (next(iter(found)) if len(found) == 1 else None)
        if name in found:
            return dict(found[name])
        raise BadInput(
            f"There are several instances: {', '.join(found)}.",
            field="instance",
            remedy="Name one with --instance.",
        )

    def _print(self, instance: dict[str, Any], tail: int) -> None:
        params = {"follow": True, "tail": tail, "instance": instance["id"]}
        with self._client.stream(f"{self._path}/logs", silence_s=SILENCE_S, **params) as answer:
            self._seen = instance["generation"]
            if not self._as_json:
                _print_text(answer)
                return
            for text in answer.iter_lines():
                click.echo(json.dumps({"instance": instance["id"], "text": text}))
