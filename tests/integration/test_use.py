"""What an instance uses reaches its owner, and nobody else: the whole platform on a real engine."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from common.settings import Settings
from master.context import make_context
from tests.support.platform import RunningPlatform
from tests.support.redis import wait_until
from tests.support.web import add_person, bearer

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
LIMIT_S = 20.0


@pytest.fixture
def deployment(platform: RunningPlatform) -> Iterator[str]:
    started = platform.start("site")
    platform.wait(started, "running")
    yield started
    platform.stop(started)


def test_a_running_instance_says_what_it_uses_and_an_ended_one_does_not(
    platform: RunningPlatform, deployment: str
) -> None:
    path = f"/api/v1/deployments/{deployment}/use"
    first = platform.http.get(path).json()
    assert first["memory_bytes"] > 0
    assert first["memory_limit_bytes"] == 32 * 2**20
    wait_until(lambda: platform.http.get(path).json()["at"] > first["at"], LIMIT_S, "a later figure")
    assert platform.http.get(path).json()["cpu_s"] >= first["cpu_s"] > 0

    _, _, stranger = add_person(make_context(Settings(state_dir=platform.state_dir)), "mallory")
    assert httpx.get(platform.url + path, headers=bearer(stranger)).status_code == 404
    box = f"http://127.0.0.1:{platform.front_port}/_openraas/use/i-0123456789"
    assert httpx.get(box, timeout=LIMIT_S).status_code == 401

    platform.stop(deployment)
    wait_until(lambda: platform.http.get(path).status_code == 404, LIMIT_S, "its end")
