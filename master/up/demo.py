"""`openraas up --demo`: request the sample `site`, show its life in the terminal, and open its page."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from rich.live import Live
from rich.table import Table

from common.errors import OpenRaaSError, Unavailable
from common.units import show_size
from common.words import InstanceState
from master.cli.client import Client, part
from master.cli.target import Target
from master.cli.timeline import PREDICTED
from master.up.display import Display
from master.up.platform import Platform
from master.up.samples import QUICK, Publisher

APPLICATION = "site"
START_S = 120.0
PAGE_S = 10.0
POLL_S = 0.05
MAX_HOPS = 4
MAX_PAGE = 1 << 20

LOOK = "Look into box/logs/nginx.log and box/logs/front.log of the state directory."
_TITLE = re.compile(rb"<title>(.*?)</title>", re.DOTALL | re.IGNORECASE)


class DemoFailed(OpenRaaSError):
    """The platform is up, but the main job does not work."""


@dataclass(frozen=True)
class Page:
    """What came through the gateway."""

    status: int
    title: str
    size_bytes: int


def run_demo(platform: Platform, display: Display) -> None:
    """Publish the samples, run one and fetch its page. Raises OpenRaaSError that names what went wrong."""
    target = platform.target()
    console = display.console
    with Client(target) as client:
        publisher = Publisher(
            platform.settings,
            client,
            display,
            engine_url=platform.engine_url,
            environment=platform.environment(),
        )
        publisher.publish(QUICK)
        made = client.send("POST", "/deployments", {"application": APPLICATION})
        console.print(f"Requested [bold]{APPLICATION}[/] as deployment {made['id']}:", highlight=False)
        deployment = _follow(client, made["id"], display)
        began = time.monotonic()
        page = open_page(client, target, deployment["id"])
        took = time.monotonic() - began
        url = client.send("POST", f"/deployments/{part(deployment['id'])}/ticket")["url"]
    console.print(
        f"[green]✓[/] The gateway answers with “{page.title}” "
        f"({show_size(page.size_bytes)}) in {took * 1000:.0f} ms.\n",
        highlight=False,
    )
    console.print(f"  Application  {platform.portal}/deployments/{deployment['id']} (Open)", highlight=False)
    console.print(f"  or at once   {url}", highlight=False, soft_wrap=True)
    console.print("               (opens once, within a minute)\n", highlight=False)


def _follow(client: Client, deployment_id: str, display: Display) -> Any:
    """Show the timeline until it runs."""
    deadline = time.monotonic() + START_S
    with Live(console=display.console, refresh_per_second=12) as live:
        while True:
            deployment = client.get(f"/deployments/{part(deployment_id)}")
            live.update(timeline(deployment))
            state = InstanceState(deployment["state"])
            if state is InstanceState.RUNNING:
                break
            if state.is_over or time.monotonic() > deadline:
                raise DemoFailed(_reason(deployment), remedy="openraas show and openraas logs tell more.")
            time.sleep(POLL_S)
    if not display.console.is_terminal:
        display.console.print()  # Live ends without a line end there
    return deployment


def _reason(deployment: Any) -> str:
    for instance in deployment["instances"]:
        if why := instance["error"] or instance["reason"]:
            return f"{deployment['application']} is {deployment['state']}: {why}"
    return f"{deployment['application']} is {deployment['state']} after {START_S:.0f} s."


def timeline(deployment: Any) -> Table:
    """Every step of a deployment: when, where, how long, what."""
    table = Table("After", "Step", "Box", "Took", "What", box=None, padding=(0, 2, 0, 0))
    rows = [row for instance in deployment["instances"] for row in instance["timeline"]]
    for row in sorted(rows, key=lambda row: (row["at"], row["id"])):
        took = "" if row["took_s"] is None else f"{row['took_s'] * 1000:.0f} ms"
        if took and row["step"] == PREDICTED:
            took = f"({took})"
        what = row["detail"]
        if row["size_bytes"]:
            sources = ", ".join(f"{box} {show_size(size)}" for box, size in row["sources"].items())
            origin = f" from {sources}" if sources else ""
            what = f"{show_size(row['size_bytes'])}{origin} {what}".strip()
        after = max(0.0, row["at"] - deployment["created_at"])
        table.add_row(f"{after:.3f} s", row["step"], row["box"] or "master", took, what)
    return table


def open_page(client: Client, target: Target, deployment_id: str) -> Page:
    """Go the browser's way: ticket, cookie, page. Raises DemoFailed if it does not lead to the page."""
    url = client.send("POST", f"/deployments/{part(deployment_id)}/ticket")["url"]
    cookie = ""
    for _ in range(MAX_HOPS):
        response, body = _fetch(url, cookie, target)
        if given := response.headers.get_all("Set-Cookie"):
            cookie = "; ".join(item.partition(";")[0] for item in given)
        if response.status in (301, 302, 303, 307, 308):
            parts = urlsplit(url)
            url = f"{parts.scheme}://{parts.netloc}{response.headers['Location']}"
            continue
        if response.status != 200:
            raise DemoFailed(f"The gateway answered with status {response.status}.", remedy=LOOK)
        found = _TITLE.search(body)
        return Page(200, found[1].decode(errors="replace").strip() if found else "no title", len(body))
    raise DemoFailed("The gateway leads round in circles.", remedy=LOOK)


def _fetch(url: str, cookie: str, target: Target) -> tuple[HTTPResponse, bytes]:
    """One request to the gateway. Names of instances are not looked up: not every resolver knows them."""
    parts = urlsplit(url)
    name, port = parts.hostname or "", parts.port
    host = "127.0.0.1" if name.endswith(".localhost") else name
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, port, timeout=PAGE_S, context=target.tls())
    else:
        connection = HTTPConnection(host, port, timeout=PAGE_S)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    headers = {"Host": parts.netloc, **({"Cookie": cookie} if cookie else {})}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read(MAX_PAGE)
    except OSError as error:
        raise Unavailable(f"The gateway at {host}:{port} does not answer: {error}.", remedy=LOOK) from error
    finally:
        connection.close()
