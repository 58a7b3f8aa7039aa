"""Publishing the samples that take minutes to build, while people use the platform already.

A verb of our own in a process group of its own does the work, so that Ctrl-C ends it with all that it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

from common.errors import OpenRaaSError
from common.supervision import openraas
from master.cli.client import Client
from master.up.display import Display
from master.up.platform import Platform
from master.up.samples import QUICK, every_name, is_published

PUBLISH_S = 1800.0
END_S = 15.0


class NotPublished(OpenRaaSError):
    """A sample could not be published; the message is what the verb said."""


def publish_the_rest(platform: Platform, display: Display) -> None:
    """Publish every sample that is missing, and tell when each begins and ends. No failure ends the platform."""
    for name in (name for name in every_name(platform.settings) if name not in QUICK):
        try:
            with Client(platform.target()) as client:
                if is_published(client, name):
                    continue
            display.console.print(
                f"Publishing [bold]{name}[/] meanwhile; building its image may take minutes.", highlight=False
            )
            began = time.monotonic()
            _publish(platform, name)
        except OpenRaaSError as error:
            display.console.print(f"[red]✗[/] {name} is not published.", highlight=False)
            display.console.print(str(error), markup=False, highlight=False)
            display.console.print(f"  Try again with: openraas samples publish {name}", highlight=False)
        else:
            took = time.monotonic() - began
            display.console.print(f"[green]✓[/] {name} is published [dim]{took:.0f} s[/]", highlight=False)


def _publish(platform: Platform, name: str) -> None:
    """Run the verb to its end. Whatever interrupts the wait ends the verb too."""
    # SIGINT, unlike SIGTERM, lets it remove its own temporary files.
    command = ("setpriv", "--pdeathsig", "INT", "--", *openraas("samples", "publish", "--json", name))
    process = subprocess.Popen(
        command,
        env={**platform.environment(), "DOCKER_HOST": platform.engine_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, told = process.communicate(timeout=PUBLISH_S)
    except subprocess.TimeoutExpired as error:
        raise NotPublished(f"It took longer than {PUBLISH_S / 60:.0f} minutes.") from error
    finally:
        _end(process)
    if process.returncode:
        raise NotPublished(_problem(told))


def _problem(told: str) -> str:
    """The error in what the verb said, without the steps before it."""
    return told.rpartition("openraas: ")[2].strip() or "It ended without a word."


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
