"""Images of several platforms and layers of every packing, with the clients and engines that people have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.oci.archive import Archive, open_archive
from common.oci.digest import digest_of
from common.oci.layers import Packing
from common.oci.manifests import OCI_INDEX, parse
from common.wishes import BlobSource, ImageSource
from tests.support.cli import platforms_layout
from tests.support.depository import PASSWORD, USER, FakeBox, FakeMaster, Image
from tests.support.engine import run_engine, run_podman
from tests.support.upstream import index_of
from workers.compute.engine import Engine
from workers.compute.engines import find_engine

MakeBox = Callable[..., FakeBox]
CREDENTIALS = f"{USER}:{PASSWORD}"
TOOL_S = 120


def run(*command: str | Path, **environment: str) -> str:
    """A program that must succeed; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=TOOL_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def skopeo() -> str:
    return shutil.which("skopeo") or pytest.skip("skopeo is not installed")


@dataclass(frozen=True)
class Podman:
    """The podman command with a storage of its own."""

    places: list[str]

    def __call__(self, *arguments: str | Path) -> str:
        return run("podman", *self.places, *arguments)


@pytest.fixture
def podman() -> Iterator[Podman]:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    # Podman takes no runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="orsformats-", dir="/tmp") as directory:
        command = Podman([
            "--root", f"{directory}/data", "--runroot", f"{directory}/run", "--storage-driver", "vfs",
        ])  # fmt: skip
        yield command
        command("rmi", "--all", "--force")


def test_skopeo_pushes_all_platforms_and_copies_them_to_another_depository(
    skopeo: str, make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    one, two = make_box("dep-1"), make_box("dep-2")
    images = [Image(40_000, seed=3), Image(30_000, seed=4, architecture="arm64")]
    seed = make_box("seed")
    for image in images:
        seed.hold(image)
    index = index_of((images[0], "amd64"), (images[1], "arm64"))
    seed.holdings.add(seed.holdings.store.put(index), OCI_INDEX, "site")
    (seed.paths.store / "index.json").write_text(
        json.dumps({
            "schemaVersion": 2,
            "manifests": [{"mediaType": OCI_INDEX, "digest": digest_of(index), "size": len(index)}],
        })
    )  # fmt: skip
    places = [f"docker://127.0.0.1:{box.endpoint.port}/team/many:1" for box in (one, two)]
    to = ["--dest-tls-verify=false", "--dest-creds", CREDENTIALS]
    run(skopeo, "copy", "--all", *to, f"oci:{seed.paths.store}", places[0])
    told = master.tags["team/many", "1"]
    assert [item["architecture"] for item in told["variants"]] == ["amd64", "arm64"]
    source = ["--src-tls-verify=false", "--src-creds", CREDENTIALS]
    run(skopeo, "copy", "--all", *source, *to, places[0], places[1])
    assert two.holdings.digests() == one.holdings.digests()
    raw = run(skopeo, "inspect", "--raw", "--tls-verify=false", "--creds", CREDENTIALS, places[1])
    assert len(parse(raw.encode()).manifests) == 2
    run(skopeo, "--override-arch", "arm64", "copy", *source, places[1], f"oci:{tmp_path / 'arm'}:x")
    with open_archive(tmp_path / "arm") as archive:
        assert archive.architectures == ["arm64"]


def test_skopeo_deletes_what_it_pushed(
    skopeo: str, make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    box = make_box("dep-1")
    path = platforms_layout(tmp_path / "layout", "amd64")
    place = f"docker://127.0.0.1:{box.endpoint.port}/site:1"
    run(skopeo, "copy", "--dest-tls-verify=false", "--dest-creds", CREDENTIALS, f"oci:{path}", place)
    assert ("site", "1") in master.tags
    run(skopeo, "delete", "--tls-verify=false", "--creds", CREDENTIALS, place)
    assert ("site", "1") not in master.tags


def test_podman_logs_in_pushes_and_pulls(
    podman: Podman, make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    box = make_box("dep-1")
    registry = f"127.0.0.1:{box.endpoint.port}"
    credentials = ["--tls-verify=false", f"--authfile={tmp_path / 'auth.json'}"]
    podman("login", *credentials, "-u", USER, "-p", PASSWORD, registry)
    (tmp_path / "content").write_bytes(os.urandom(1_000_000))
    run("tar", "-C", tmp_path, "-cf", tmp_path / "root.tar", "content")
    podman("import", tmp_path / "root.tar", "formats-test:1")
    name = f"{registry}/team/content:1"
    podman("push", *credentials, "formats-test:1", name)
    assert ("team/content", "1") in master.tags
    podman("rmi", "--all", "--force")
    podman("pull", *credentials, name)
    assert name in podman("images", "--format", "{{.Repository}}:{{.Tag}}")


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with (run_engine if request.param == "docker" else run_podman)() as server:
        yield find_engine(server.url)


@pytest.mark.engine
def test_an_engine_says_what_it_is_and_whether_it_takes_zstd(engine: Engine) -> None:
    facts = engine.facts()
    assert facts.name == engine.name
    assert facts.version[0].isdigit()
    assert facts.store.startswith(("classic", "containerd"))
    if facts.name == "docker":
        assert facts.zstd == (int(facts.version.split(".")[0]) >= 23)
    else:
        assert facts.zstd


def hold_archive(box: FakeBox, archive: Archive, repository: str) -> None:
    """As if the archive had been pushed."""
    for image in archive.images:
        for blob in image.blobs:
            with blob.open() as file:
                box.holdings.add(box.holdings.store.put(file.read()), "", repository)
        box.holdings.add(box.holdings.store.put(image.manifest), image.media_type, repository)


def source_of(master: FakeMaster, seed: FakeBox, archive: Archive, name: str) -> ImageSource:
    """What a placement says of the archive's only image."""
    (image,) = archive.images
    references = parse(image.manifest, image.media_type).references
    items = [(image.digest, len(image.manifest), image.media_type)]
    items += [(item.digest, item.size_bytes, item.media_type) for item in references]
    return ImageSource(
        name=name,
        manifest=image.digest,
        blobs=[
            BlobSource(digest=digest, size_bytes=size, media_type=kind, boxes=[seed.name])
            for digest, size, kind in items
        ],
        endpoints={seed.name: seed.endpoint},
        ticket=master.layer_ticket(digest for digest, _, _ in items),
    )


@pytest.mark.engine
@pytest.mark.parametrize("packing", [None, *Packing], ids=lambda item: item.value if item else "as-it-is")
def test_an_engine_pulls_layers_of_every_packing_that_it_takes_by_the_loopback(
    engine: Engine, make_box: MakeBox, master: FakeMaster, tmp_path: Path, packing: Packing | None
) -> None:
    facts = engine.facts()
    if packing is Packing.ZSTD and not facts.zstd:
        pytest.skip(f"{facts.name} {facts.version} ({facts.store}) does not unpack zstd")
    seed, reader = make_box("seed"), make_box("reader")
    path = platforms_layout(tmp_path / "layout", "amd64", "arm64")
    with open_archive(path, architectures=["amd64"], packing=packing) as archive:
        hold_archive(seed, archive, "formats")
        reader.client.plan(source_of(master, seed, archive, "formats:1"))
        name = f"127.0.0.1:{reader.loopback_port}/formats@{archive.digest}"
        engine.pull(name).wait()
        assert engine.has_image(name)
        assert reader.client.transfer(archive.digest).state == "done"
