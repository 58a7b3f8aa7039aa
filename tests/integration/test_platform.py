"""The whole platform on real parts: Flask, Celery, Redis, a box with all roles, a container engine, a gateway."""

from __future__ import annotations

import http.client
import json
import socket
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
import redis

from common import names
from common.files import read_secret
from common.settings import Settings
from common.words import Role
from master.context import MasterContext, make_context
from tests.support.bad_sources import bad_source
from tests.support.master import FakeBox, add_application, add_image, image_digests
from tests.support.platform import SAMPLES, RunningPlatform
from tests.support.redis import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

PORT = 8080
SERVE = ["busybox", "httpd", "-f", "-p", str(PORT), "-h"]
TRICKLE_S = 0.2
ANSWER_LIMIT_S = 2.0  # what a box that is full of frozen fetches may take for an export or a stop


@pytest.fixture(scope="module", autouse=True)
def _applications(platform: RunningPlatform) -> None:
    """One more application of the sample image."""
    home = {"home": "/home/user", "command": [*SERVE, "/home/user"]}
    platform.call("POST", "/applications", {"manifest": manifest("diary", **home)})


def manifest(name: str, **service: object) -> dict[str, object]:
    """An application of the sample image."""
    main = {"image": "site:1", "port": PORT, "readiness": {"http": "/"}, **service}
    main["resources"] = {"cpu": 0.1, "memory": "32MiB", "disk": 0}
    return {"openraas": 1, "name": name, "title": name, "services": {"web": main}}


@pytest.fixture
def master(platform: RunningPlatform) -> MasterContext:
    """The master's own view of SQL and Redis."""
    return make_context(Settings(state_dir=platform.state_dir))


@pytest.fixture
def containers(platform: RunningPlatform) -> docker.DockerClient:
    """The engine that the box uses."""
    return docker.DockerClient(base_url=platform.engine_url)


def page(platform: RunningPlatform, deployment: str, path: str = "/") -> tuple[int, bytes]:
    """What a browser sees that follows the launch link: ticket, cookie, page."""
    ticket = urlsplit(platform.call("POST", f"/deployments/{deployment}/ticket")["url"])
    status, headers, _ = ask(platform, ticket.netloc, f"{ticket.path}?{ticket.query}", "")
    assert status == 303, status
    cookie = headers["Set-Cookie"].partition(";")[0]
    status, _, body = ask(platform, ticket.netloc, path, cookie)
    return status, body


def ask(
    platform: RunningPlatform, host: str, path: str, cookie: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request to the gateway on the instance's own name."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.front_port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host, **({"Cookie": cookie} if cookie else {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def nothing_left(platform: RunningPlatform, containers: docker.DockerClient, instance: str) -> list[str]:
    """What there still is of an instance, by what the engine, the kernel, Redis and the box's files say."""
    left = [f"container {item.name}" for item in containers.containers.list(
        all=True, filters={"label": f"openraas.instance={instance}"})]  # fmt: skip
    left += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if instance in line]
    client = redis.Redis.from_url(
        read_secret(platform.state_dir / "secrets/redis.url"), decode_responses=True
    )
    for key in (names.reserved_key("box-1"), names.wish_key("box-1")):
        left += [f"{key} {field}" for field in client.hgetall(key) if instance in str(field)]
    box = platform.state_dir / "box"
    left += [f"file {path}" for path in box.rglob(f"*{instance}*") if "logs" not in path.parts]
    for keys in box.rglob("authorized_keys"):
        left += [f"key {line}" for line in keys.read_text().splitlines() if instance in line]
    return left


def test_by_rest_and_by_command_line_the_same_page_comes_through_the_gateway(
    platform: RunningPlatform,
) -> None:
    by_rest = platform.start("site")
    by_verb = json.loads(platform.verb("run", "site", "--json"))["id"]
    pages = []
    for deployment in (by_rest, by_verb):
        platform.wait(deployment, "running")
        pages.append(page(platform, deployment))
    assert pages[0] == pages[1]
    assert pages[0][0] == 200
    for deployment in (by_rest, by_verb):
        platform.stop(deployment)


def test_stopping_leaves_nothing(platform: RunningPlatform, containers: docker.DockerClient) -> None:
    deployment = platform.start("diary")
    instance = platform.wait(deployment, "running")["id"]
    assert nothing_left(platform, containers, instance), "the check sees nothing of a running instance"
    platform.stop(deployment)
    wait_until(lambda: nothing_left(platform, containers, instance) == [], 20, "the end of everything")


def test_the_home_keeps_what_was_written_for_the_next_deployment(
    platform: RunningPlatform, containers: docker.DockerClient
) -> None:
    first = platform.start("diary")
    container = containers.containers.get(
        containers.containers.list(
            filters={"label": f"openraas.instance={platform.wait(first, 'running')['id']}"}
        )[0].id
    )
    code, _ = container.exec_run(
        ["busybox", "sh", "-c", "echo kept > /home/user/note && chmod 640 /home/user/note"]
    )
    assert code == 0
    platform.stop(first)
    second = platform.start("diary")
    platform.wait(second, "running")
    assert page(platform, second, "/note") == (200, b"kept\n")
    platform.stop(second)


def test_without_a_ticket_nobody_gets_in(platform: RunningPlatform) -> None:
    deployment = platform.start("diary")
    instance = platform.wait(deployment, "running")["id"]
    host = f"{instance}.localhost:{platform.front_port}"
    assert ask(platform, host, "/", "")[0] in (401, 403)
    assert ask(platform, host, "/", "__Host-openraas=forged")[0] in (401, 403)
    assert ask(platform, host, "/_openraas/enter?ticket=forged", "")[0] in (401, 403)
    platform.stop(deployment)


def trickle(connection: socket.socket) -> None:
    """Begins to answer and goes on by one letter at a time: never silent for so long that it would be left."""
    try:
        connection.sendall(b"HTTP/1.1 206 Partial Content\r\nX-Slow: ")
        while True:
            time.sleep(TRICKLE_S)
            connection.sendall(b"z")
    except OSError:
        return  # nobody reads any more


def test_a_box_filled_with_frozen_fetches_still_answers_export_and_stop(
    platform: RunningPlatform, master: MasterContext
) -> None:
    warm = platform.start("diary")
    platform.wait(warm, "running")
    with bad_source(trickle) as front:
        frozen = FakeBox(
            master, "box-9", roles=frozenset({Role.DEPOSITORY}), open=False, fixed=False, front=front
        )
        try:
            frozen.hold(image_digests(add_image(master, "frozen:1")))
            resources = {"cpu": 0.01, "memory": "16MiB", "disk": 0}
            add_application(master, "frozen", "frozen:1", resources=resources)
            stuck = [platform.start("frozen") for _ in range(12)]
            for deployment in stuck:
                platform.wait(deployment, "preparing")
            began = time.time()
            asked = platform.start("diary")
            rows = {row["step"]: row["at"] - began for row in platform.wait(asked, "running")["timeline"]}
            assert rows["export"] < ANSWER_LIMIT_S, rows
            began = time.monotonic()
            platform.stop(warm)
            platform.stop(stuck[-1])
            platform.stop(stuck[0])
            assert time.monotonic() - began < 3 * ANSWER_LIMIT_S
            for deployment in [asked, *stuck]:
                platform.call("POST", f"/deployments/{deployment}/stop")
            for deployment in [asked, *stuck]:
                platform.wait(deployment, "stopped")
        finally:
            master.redis.srem(names.BOXES, "box-9")
            frozen.go_silent()


def test_every_process_tells_how_it_goes(platform: RunningPlatform) -> None:
    deployment = platform.start("site")
    platform.wait(deployment, "running")
    platform.stop(deployment)
    master = int(platform.environment["OPENRAAS_METRICS_PORT"])
    box = tomllib.loads((platform.state_dir / "box/box.toml").read_text())["metrics_port"]
    told = {
        f"{platform.url}/metrics": 'openraas_queue_depth{queue="scheduler"}',
        f"http://127.0.0.1:{master + 1}/metrics": 'openraas_placements_total{outcome="placed",policy="start',
        f"http://127.0.0.1:{master + 2}/metrics": 'openraas_step_seconds_count{step="launch"}',
        f"http://127.0.0.1:{box}/metrics": 'openraas_step_seconds_count{step="launch"}',
    }
    for url, line in told.items():
        assert line in platform.http.get(url).text, url


@pytest.mark.long
def test_the_notebook_opens_with_the_persons_home(
    platform: RunningPlatform, containers: docker.DockerClient
) -> None:
    every = {**platform.environment, "OPENRAAS_SAMPLES_DIR": str(SAMPLES)}
    replace(platform, environment=every).verb("samples", "publish", "notebook", limit_s=900)
    deployment = platform.start("notebook")
    instance = platform.wait(deployment, "running", limit_s=180)["id"]
    status, body = page(platform, deployment, "/lab")
    assert (status, b"JupyterLab" in body) == (200, True)
    inside = containers.containers.list(filters={"label": f"openraas.instance={instance}"})[0]
    assert inside.exec_run(["/bin/sh", "-c", "touch ~/kept && stat -c %m ~"]).exit_code == 0
    platform.stop(deployment)
