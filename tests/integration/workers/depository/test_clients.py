"""docker and skopeo work with a depository unchanged, and the engine pulls from several at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.oci.archive import open_archive
from common.oci.manifests import parse
from common.wishes import BlobSource
from tests.support.bad_sources import bad_source, liar
from tests.support.depository import PASSWORD, USER, FakeBox, FakeMaster, Image
from tests.support.engine import EngineServer, run_engine

MakeBox = Callable[..., FakeBox]
Run = Callable[..., str]
CREDENTIALS = f"{USER}:{PASSWORD}"


@pytest.fixture(scope="module")
def private_engine() -> Iterator[EngineServer]:
    with run_engine() as engine:
        yield engine


@pytest.fixture
def docker(private_engine: EngineServer, tmp_path: Path) -> Run:
    """The docker command for a private engine; fails the test with what it printed."""
    binary = shutil.which("docker", path="/usr/bin:/bin") or shutil.which("docker")
    if binary is None:
        pytest.skip("the docker command is not installed")

    def run(*arguments: str, check: bool = True) -> str:
        environment = {
            **os.environ,
            "DOCKER_CONFIG": str(tmp_path / "docker"),
            "DOCKER_HOST": private_engine.url,
        }
        done = subprocess.run(
            [binary, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
        )
        assert (done.returncode == 0) == check, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def skopeo() -> Run:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["skopeo", *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def imported(docker: Run, tmp_path: Path) -> Iterator[str]:
    """An image that only the engine has."""
    (tmp_path / "content").write_bytes(os.urandom(9_000_000))
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "root.tar", "content"], check=True)
    docker("import", str(tmp_path / "root.tar"), "layers-test:1")
    yield "layers-test:1"
    docker("rmi", "-f", "layers-test:1")


@pytest.mark.engine
def test_docker_logs_in_pushes_and_pulls(
    docker: Run, imported: str, make_box: MakeBox, master: FakeMaster
) -> None:
    box = make_box("dep-1")
    registry = f"127.0.0.1:{box.endpoint.port}"
    docker("login", registry, "-u", USER, "-p", "wrong", check=False)
    docker("login", registry, "-u", USER, "-p", PASSWORD)
    name = f"{registry}/team/content:1"
    docker("tag", imported, name)
    docker("push", name)
    assert "Layer already exists" in docker("push", name)
    docker("rmi", imported, name)
    docker("pull", name)
    docker("tag", name, imported)
    docker("rmi", name)
    assert ("team/content", "1") in master.tags
    assert docker("pull", f"{registry}/team/content:2", check=False)


def push_with_skopeo(skopeo: Run, image: Image, box: FakeBox, directory: Path) -> None:
    """As a person would: from an OCI layout."""
    store = box.holdings.store
    seed = FakeBox("layout", directory / "layout", box.master)
    try:
        seed.hold(image)
    finally:
        seed.stop()
    target = f"docker://127.0.0.1:{box.endpoint.port}/{image.repository}:1"
    skopeo("copy", "--dest-tls-verify=false", "--dest-creds", CREDENTIALS, f"oci:{seed.paths.store}", target)
    assert store.has(image.digest)


def test_skopeo_copies_to_a_depository_between_them_and_back(
    skopeo: Run, make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    image = Image(3_000_000, 2_500_000, repository="team/site")
    one, two = make_box("dep-1"), make_box("dep-2")
    push_with_skopeo(skopeo, image, one, tmp_path)
    places = [f"docker://127.0.0.1:{box.endpoint.port}" for box in (one, two)]
    insecure = ["--src-tls-verify=false", "--src-creds", CREDENTIALS]
    both = [*insecure, "--dest-tls-verify=false", "--dest-creds", CREDENTIALS]
    skopeo("copy", *both, f"{places[0]}/team/site:1", f"{places[1]}/other:2")
    assert two.holdings.digests() == set(image.by_digest)
    listed = skopeo("list-tags", "--tls-verify=false", "--creds", CREDENTIALS, f"{places[0]}/team/site")
    assert '"1"' in listed
    skopeo("copy", *insecure, f"{places[1]}/other:2", f"oci:{tmp_path / 'out'}:x")
    with open_archive(tmp_path / "out") as archived:
        assert [blob.descriptor.size_bytes for blob in archived.images[0].blobs][1:] == [
            len(x) for x in image.layers
        ]


@pytest.mark.engine
def test_the_engine_pulls_by_the_loopback_from_all_depositories_in_spite_of_a_liar(
    docker: Run, imported: str, make_box: MakeBox, master: FakeMaster
) -> None:
    one, two, reader = make_box("dep-1"), make_box("dep-2"), make_box("reader")
    registry = f"127.0.0.1:{one.endpoint.port}"
    docker("login", registry, "-u", USER, "-p", PASSWORD)
    docker("tag", imported, f"{registry}/content:1")
    docker("push", f"{registry}/content:1")
    docker("rmi", imported, f"{registry}/content:1")
    told = master.tags["content", "1"]
    assert parse(told["manifest"].encode()).references
    for blob in told["blobs"]:
        content = one.holdings.store.read(blob["digest"], blob["size_bytes"])
        two.holdings.add(two.holdings.store.put(content), blob["media_type"], "content")
    listed = {held.digest: held.chunk_list for held in one.holdings.held(two.holdings.digests())}
    with bad_source(liar({blob["digest"]: blob["size_bytes"] for blob in told["blobs"]})) as lying:
        endpoints = {"a-liar": lying, "dep-1": one.endpoint, "dep-2": two.endpoint}
        template = Image(1).source(master, endpoints)
        blobs = [
            BlobSource(**blob, boxes=list(endpoints), chunk_list=listed[blob["digest"]])
            for blob in told["blobs"]
        ]
        ticket = master.layer_ticket(listed)
        source = template.model_copy(
            update={"name": "content:1", "manifest": told["digest"], "blobs": blobs, "ticket": ticket}
        )
        reader.client.plan(source)
        name = f"127.0.0.1:{reader.loopback_port}/content@{told['digest']}"
        docker("pull", name)
    facts = reader.client.transfer(told["digest"])
    assert facts.state == "done"
    assert facts.size_bytes == sum(blob["size_bytes"] for blob in told["blobs"])
    assert facts.banned == ["a-liar"]
    docker("rmi", name)
