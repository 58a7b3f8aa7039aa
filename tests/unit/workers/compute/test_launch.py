"""From a wish to the container that the engine is asked for."""

from __future__ import annotations

from pathlib import Path

from common.access.terminal import Terminal
from common.service import ServiceSpec
from common.wishes import ComputeWish, ImageSource, MountWish
from common.words import MountMode, Resources
from workers.compute.launch import container_name, container_spec, image_reference
from workers.compute.networks import Attachment, Network

DIGEST = "sha256:" + "a" * 64
NETWORK = Network("openraas-near-1", "id", "orsx", "10.213.0.16/28")


def image(name: str) -> ImageSource:
    return ImageSource(name=name, manifest=DIGEST, blobs=[], endpoints={}, ticket="t")


def wish(**service: object) -> ComputeWish:
    values: dict[str, object] = {
        "name": "web",
        "image": "x:1",
        "resources": Resources(cpu=1, memory_bytes=2),
        **service,
    }
    return ComputeWish(
        subject="i-1", generation=3, version=1, wanted="running", instance="i-1", deployment="d-1",
        service=ServiceSpec.model_validate(values), image=image("x:1"),
    )  # fmt: skip


def spec(given: ComputeWish, **changes: object):  # type: ignore[no-untyped-def]
    values: dict[str, object] = {
        "box": "near", "reference": "ref", "attachment": Attachment(NETWORK, "10.213.0.18"), "mounts": [],
        "secrets": {}, **changes,
    }  # fmt: skip
    return container_spec(given, **values)  # type: ignore[arg-type]


def test_images_are_named_by_digest_through_the_boxs_own_port() -> None:
    for name, repository in (
        ("debian:bookworm", "debian"),
        ("lab/tools/shell:1.2", "lab/tools/shell"),
        ("plain", "plain"),
    ):
        assert image_reference(image(name), 8092) == f"127.0.0.1:8092/{repository}@{DIGEST}"


def test_a_network_gives_its_first_address_to_the_box_and_the_others_to_containers() -> None:
    assert NETWORK.gateway == "10.213.0.17"
    assert NETWORK.addresses[0] == "10.213.0.18"
    assert NETWORK.addresses[-1] == "10.213.0.30"
    assert len(NETWORK.addresses) == 13


def test_secrets_are_in_the_environment_and_nowhere_that_is_shown() -> None:
    made = spec(wish(environment={"A": "1"}), secrets={"PASSWORD": "marked-secret"})
    assert made.environment == {"A": "1", "PASSWORD": "marked-secret"}
    assert "marked-secret" not in repr(made)
    assert "marked-secret" not in str(made.labels)


def test_labels_name_box_instance_generation_and_deployment() -> None:
    assert dict(spec(wish()).labels) == {
        "openraas.box": "near",
        "openraas.instance": "i-1",
        "openraas.generation": "3",
        "openraas.deployment": "d-1",
    }
    assert spec(wish()).name == container_name("near", "i-1", 3)


def test_read_only_filesets_are_bound_read_only() -> None:
    mounts = [
        (MountWish(fileset=f"f{mode.value}", version=1, target="/f", mode=mode, filestore="b"), Path("/m"))
        for mode in MountMode
    ]
    assert [bind.read_only for bind in spec(wish(), mounts=mounts).binds] == [True, False]


def test_only_a_terminal_gets_one() -> None:
    assert spec(wish(access=Terminal())).terminal
    assert not spec(wish()).terminal
