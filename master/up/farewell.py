"""The end of `openraas up`: instances stop the way they always do, and nothing of ours is left."""

from __future__ import annotations

import subprocess
import time

from sqlalchemy import select

from common.errors import OpenRaaSError
from common.logs import get_logger
from common.supervision import openraas
from master.deployments.models import Deployment
from master.deployments.services import stop_deployment
from master.up.display import Display
from master.up.platform import Platform

log = get_logger(__name__)

STOP_S = 30.0
CLEAN_S = 60.0
POLL_S = 0.1


class NotStopped(OpenRaaSError):
    """Instances were asked to stop and still run."""


def end_deployments(platform: Platform, display: Display) -> None:
    """Stop everything that runs and wait until nothing of it is left, at most `STOP_S`."""
    running = _running(platform)
    if not running:
        return
    try:
        with display.step("Stopping instances", total=len(running)) as advance:
            for deployment in running:
                stop_deployment(
                    platform.context, deployment.user, deployment.id, why="The platform is being stopped."
                )
            deadline = time.monotonic() + STOP_S
            while left := len(_running(platform)):
                if time.monotonic() > deadline:
                    raise NotStopped(f"{left} of {len(running)} instances did not stop in {STOP_S:.0f} s.")
                advance(len(running) - left)
                time.sleep(POLL_S)
    except OpenRaaSError as error:
        # The programs end all the same, and `remove_leftovers` takes away what is left of instances here.
        display.console.print(f"[red]✗[/] Stopping instances: {error}", highlight=False)


def _running(platform: Platform) -> list[Deployment]:
    with platform.context.database.read() as session:
        found = list(session.scalars(select(Deployment).where(Deployment.ended_at.is_(None))))
        for deployment in found:
            _ = deployment.user
        return found


def remove_leftovers(platform: Platform) -> None:
    """What could not be stopped in time: containers, networks, mounts and rules of our own box."""
    done = subprocess.run(
        openraas("box", "clean", "--state-dir", str(platform.layout.box)),
        env={**platform.environment(), "DOCKER_HOST": platform.engine_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CLEAN_S,
        check=False,
    )
    if done.returncode:
        log.warning("leftovers not removed", error=done.stderr.strip())
