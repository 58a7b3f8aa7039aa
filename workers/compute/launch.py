"""From a wish to a container: names, labels, limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.access import HANDED
from common.wishes import ComputeWish, ImageSource, MountWish
from common.words import MountMode
from workers.box.room import Kind, Share
from workers.compute.engine import Bind, ContainerSpec
from workers.compute.labels import LABEL_BOX, LABEL_DEPLOYMENT, LABEL_GENERATION, LABEL_INSTANCE
from workers.compute.networks import Attachment


def container_name(box: str, instance: str, generation: int) -> str:
    """The same for the same start, so that one that was left over is found by its name."""
    return f"openraas-{box}-{instance}-{generation}"


def image_reference(image: ImageSource, loopback_port: int) -> str:
    """What the engine pulls and runs: by digest, through the box's own loopback endpoint."""
    repository, colon, tag = image.name.rpartition(":")
    if not colon or "/" in tag:
        repository = image.name
    return f"{registry(loopback_port)}/{repository}@{image.manifest}"


def registry(loopback_port: int) -> str:
    """Where the engine believes that its images come from."""
    return f"127.0.0.1:{loopback_port}"


def disk_share(wish: ComputeWish) -> Share:
    """The room that the container may fill with what it writes."""
    return Share(f"disk-{wish.instance}", wish.service.resources.disk_bytes, Kind.DISK)


def container_spec(
    wish: ComputeWish,
    *,
    box: str,
    reference: str,
    attachment: Attachment,
    mounts: Sequence[tuple[MountWish, Path]],
    secrets: Mapping[str, str],
    handed: Path | None = None,
) -> ContainerSpec:
    """The container of an instance. Secrets are in its environment and nowhere else; `handed` is what its box made
    for it."""
    service = wish.service
    given = (Bind(str(handed), HANDED, read_only=True, live=False),) if handed is not None else ()
    return ContainerSpec(
        name=container_name(box, wish.instance, wish.generation),
        image=reference,
        hostname=wish.instance,
        labels={
            LABEL_BOX: box,
            LABEL_INSTANCE: wish.instance,
            LABEL_GENERATION: str(wish.generation),
            LABEL_DEPLOYMENT: wish.deployment,
        },
        network=attachment.network.name,
        address=attachment.address,
        aliases=(service.name, wish.instance),
        cpu=service.resources.cpu,
        memory_bytes=service.resources.memory_bytes,
        pids=service.pids,
        disk_bytes=service.resources.disk_bytes,
        gpu=service.resources.gpu,
        command=tuple(service.command) if service.command is not None else None,
        environment={**service.environment, **secrets},
        user=service.user,
        working_dir=service.working_dir,
        binds=given
        + tuple(
            Bind(str(path), mount.target, read_only=mount.mode is MountMode.READ_ONLY)
            for mount, path in mounts
        ),
        read_only_root=service.read_only_root,
        writable=tuple(service.writable),
        capabilities=tuple(service.capabilities),
        terminal=service.access.needs_terminal,
    )
