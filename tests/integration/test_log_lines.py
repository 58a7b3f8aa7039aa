"""Every line of a log that concerns an instance names it: the whole platform on real parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.platform import RunningPlatform
from tests.support.redis import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

LIMIT_S = 20.0
STATES = ("placed", "preparing", "running", "stopping", "stopped")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are JSON: Celery greets with a banner that is not."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_every_line_about_an_instance_names_it_its_generation_and_its_process(
    platform: RunningPlatform,
) -> None:
    deployment = platform.start("site")
    instance = platform.wait(deployment, "running")["id"]
    platform.stop(deployment)
    master, box = platform.state_dir / "logs", platform.state_dir / "box" / "logs"
    logs = {name: master / f"{name}.log" for name in ("web", "scheduler", "lifecycle")}
    logs["worker"] = box / "worker.log"

    def events() -> set[str]:
        mine = [line for name in logs for line in lines(logs[name]) if line.get("instance") == instance]
        return {line["event"] for line in mine}

    wanted = {"instance requested", *(f"instance {state}" for state in STATES)}
    wait_until(lambda: wanted <= events(), LIMIT_S, "the life of the instance in the logs")
    for name, path in logs.items():
        for line in lines(path):
            text = json.dumps(line)
            assert line.get("process", line.get("box")) == ("box-1" if name == "worker" else name), text
            if instance in text:
                assert (line.get("instance"), line.get("generation")) == (instance, 1), (name, text)
            if instance in text and name != "worker" and line["event"].startswith("instance "):
                assert line["deployment"] == deployment, text


def test_a_platform_where_nothing_happens_does_not_fill_its_logs(platform: RunningPlatform) -> None:
    chatty = ("received", "succeeded", "Sending due task")
    for name in ("scheduler", "lifecycle", "beat"):
        told = (platform.state_dir / "logs" / f"{name}.log").read_text()
        assert not any(word in told for word in chatty), name
