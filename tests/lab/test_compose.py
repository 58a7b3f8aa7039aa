"""The compose files, by really bringing them up: a master and a box on two machines with engines of their own."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from common.settings import Settings
from common.words import Role
from tests.lab import applications, machines
from tests.lab.portal import Portal, mounts_on
from tests.support import oci_image
from tests.support.redis import wait_until
from workers.lab import build, engine
from workers.lab import master as masters
from workers.lab.commands import tail
from workers.lab.fleet import Lab
from workers.lab.plan import Link, Node

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(1800)]

COMPOSE = Path(__file__).parents[2] / "compose"
BASE = "debian:bookworm-slim"
# The same base, but with this machine's certificates, so that a build reaches what this machine reaches.
TEST_BASE = "openraas-test-compose-base"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE_DOCKERFILE = f"""
FROM {BASE}
COPY host-ca.crt /usr/local/share/host-ca.crt
ENV PIP_CERT=/usr/local/share/host-ca.crt
"""
IMAGES = ("openraas-master", "openraas-box")
SITE = "portal.example.org"
BUILD_S, UP_S, HEALTHY_S, LOAD_S = 1200.0, 300.0, 120.0, 300.0


def run(*argv: str, timeout_s: float = 60.0, **environment: str) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both images, built with this machine's engine, as one archive."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True).returncode:
        pytest.skip(f"this machine's engine does not answer, or has no {BASE}")
    directory = tmp_path_factory.mktemp("compose")
    shutil.copy(CERTIFICATES, directory / "host-ca.crt")
    (directory / "Dockerfile").write_text(BASE_DOCKERFILE)
    before = {name: found for name in (*IMAGES, TEST_BASE) if (found := image_id(name))}
    plain = {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
    try:
        run("docker", "build", "--tag", TEST_BASE, str(directory), timeout_s=BUILD_S, **plain)
        for file in ("master.yaml", "box.yaml"):
            compose(None, file, {"OPENRAAS_BASE": TEST_BASE, **plain}, "build", timeout_s=BUILD_S)
        archive = directory / "images.tar"
        run("docker", "save", "--output", str(archive), *IMAGES, timeout_s=LOAD_S)
        yield archive
        archive.unlink()
    finally:
        for name in (*IMAGES, TEST_BASE):
            if image_id(name) != before.get(name):
                subprocess.run(["docker", "image", "rm", name], capture_output=True, timeout=LOAD_S)
                if name in before:  # somebody's own, whose name the build took
                    run("docker", "tag", before[name], name)


def image_id(name: str) -> str:
    """The image that a name has in this machine's engine; empty if there is none."""
    return subprocess.run(
        ["docker", "image", "ls", "--quiet", "--no-trunc", f"{name}:latest"],
        capture_output=True, text=True, timeout=60,
    ).stdout.strip()  # fmt: skip


def compose(
    socket: Path | None, file: str, environment: dict[str, str], *arguments: str, timeout_s: float = UP_S
) -> str:
    """`docker-compose` with one of the project's files, at the engine behind `socket`."""
    engine_url = {"DOCKER_HOST": f"unix://{socket}"} if socket else {}
    needed = {"OPENRAAS_LISTEN": "192.0.2.1", "OPENRAAS_SITE": SITE}
    return run(
        "docker-compose", "--file", str(COMPOSE / file), "--project-name", "openraas-test", *arguments,
        timeout_s=timeout_s, **{**needed, **environment, **engine_url},
    )  # fmt: skip


@pytest.fixture
def two(lab_id: str, tmp_path: Path, images: Path) -> Iterator[Lab]:
    """Two machines whose engines have the images."""
    lab = machines.make(lab_id, tmp_path, [Link()] * 2, frozenset({Role.COMPUTE}))
    for node in lab.state.boxes:
        engine.wait_ready(lab.state, node, engine.start(lab.state, node, lab.init_of(node)))
        socket = engine.socket_path(lab.state, node)
        run("docker", "--host", f"unix://{socket}", "load", "--input", str(images), timeout_s=LOAD_S)
    yield lab
    build.down(lab_id)


def healthy(socket: Path, service: str) -> bool:
    """Whether the container of a service passes its own health check."""
    shown = run(
        "docker", "--host", f"unix://{socket}", "ps", "--filter", f"label=com.docker.compose.service={service}",
        "--format", "{{.Status}}",
    )  # fmt: skip
    return "(healthy)" in shown


def test_a_master_and_a_box_come_up_from_the_compose_files(
    two: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first, second = two.state.boxes
    master_socket = engine.socket_path(two.state, first)
    box_socket = engine.socket_path(two.state, second)
    listen, box_address = two.state.address(first), two.state.address(second)
    master = {"OPENRAAS_LISTEN": listen, "OPENRAAS_SITE": SITE}
    compose(master_socket, "master.yaml", master, "up", "--detach", "--no-build")
    for service in ("master", "front"):
        wait_until(lambda name=service: healthy(master_socket, name), HEALTHY_S, f"{service} healthy")

    def inside(*argv: str) -> str:
        return compose(master_socket, "master.yaml", master, "exec", "-T", "master", *argv)

    shows_the_portal_under_its_name_only(listen)
    token = json.loads(inside("openraas", "box", "token", "--json"))["token"]
    directory = tmp_path / "box"
    directory.mkdir()
    # As systemd does for the whole machine: what the box mounts has to be seen by the engine.
    script = 'mount --bind "$0" "$0" && mount --make-shared "$0"'
    run(*two.inside(second, ["sh", "-c", script, str(directory)]))
    box = {
        "OPENRAAS_MASTER": f"https://{listen}:8080", "OPENRAAS_TOKEN": token, "OPENRAAS_BOX_NAME": second.name,
        "OPENRAAS_BOX_ADDRESS": box_address, "OPENRAAS_BOX_LENT": "4GB", "OPENRAAS_BOX_DIR": str(directory),
        "OPENRAAS_ENGINE_SOCKET": str(box_socket),
    }  # fmt: skip
    compose(box_socket, "box.yaml", box, "up", "--detach", "--no-build")
    request.addfinalizer(lambda: print(*(tail(log, 40) for log in sorted(directory.glob("logs/*.log")))))
    wait_until(lambda: healthy(box_socket, "box"), HEALTHY_S, "box healthy")

    def seen() -> bool:
        rows = json.loads(inside("openraas", "box", "list", "--json"))
        return [row["id"] for row in rows if row["up"]] == [second.name]

    wait_until(seen, HEALTHY_S, "the box seen by the master")
    runs_an_application(operator(two, inside, tmp_path / "operator"), second, tmp_path)

    again = {**box, "OPENRAAS_TOKEN": ""}
    compose(box_socket, "box.yaml", again, "up", "--detach", "--no-build", "--force-recreate")
    wait_until(lambda: healthy(box_socket, "box"), HEALTHY_S, "box healthy without a token")
    compose(box_socket, "box.yaml", box, "down")
    compose(master_socket, "master.yaml", master, "down", "--volumes")


def operator(lab: Lab, inside: Callable[..., str], directory: Path) -> Portal:
    """The operator on another machine, with what lets the command line in."""
    for name in ("ca.crt", "secrets/cli.token", "secrets/admin.password"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / name).write_text(inside("cat", f"/var/lib/openraas/{name}"))
    listen = lab.state.address(lab.state.boxes[0])
    found = masters.running(Settings(state_dir=directory, listen=listen), lab.state.host_address)
    lab.note(lab.state.model_copy(update={"master": found}))
    return Portal(lab)


def runs_an_application(portal: Portal, box: Node, scratch: Path) -> None:
    """A page with a mounted file, and a home that is written, from a box that lives in a container."""
    oci_image.web_image(scratch / "image", layers=1, layer_bytes=100_000)
    applications.push(portal, scratch / "image", box, f"{applications.REPOSITORY}:1", scratch)
    applications.put_pages(portal, scratch)
    for manifest, path, text in (
        (applications.SITE, f"/{applications.FILE}", applications.TEXT),
        (applications.DIARY, "/diary.txt", "was here"),
    ):
        applications.publish(portal, manifest)
        deployment = portal.start(manifest["name"])
        portal.wait(deployment, "running")
        assert text in portal.open(deployment).get(path).text
        portal.stop(deployment)
    docker = ["docker", "--host", f"unix://{engine.socket_path(portal.lab.state, box)}"]
    labels = run(*docker, "ps", "--all", "--format", '{{.Label "com.docker.compose.service"}}').split()
    assert labels == ["box"]
    mounted = mounts_on(portal.lab, box.name)
    assert [point for point in mounted if point.startswith(f"{scratch}/box/")] == []


def shows_the_portal_under_its_name_only(address: str) -> None:
    """The front speaks TLS for the site's name, leads there from plain HTTP, and says nothing to other names."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=blind, trust_env=False, timeout=20) as http:
        page = http.get(
            f"https://{address}/sign-in", headers={"Host": SITE}, extensions={"sni_hostname": SITE}
        )
        plain = http.get(f"http://{address}/sign-in", headers={"Host": SITE})
        with pytest.raises(httpx.RemoteProtocolError):
            http.get(f"https://{address}/sign-in", headers={"Host": "elsewhere.example.org"})
    assert page.status_code == 200
    assert "password" in page.text
    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://{SITE}/sign-in")
