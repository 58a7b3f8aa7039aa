"""A container to open terminals in: busybox, in a private engine."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.types import Ulimit

from tests.support.engine import root_file_system
from workers.compute.engines.docker import own_limit

IMAGE = "localhost/terminal-test"
MOST = 32768


def _limits() -> list[Ulimit]:
    """What this machine allows: Podman asks for more by itself."""
    kinds = (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    return [
        Ulimit(name=name, soft=limit, hard=limit) for name, kind in kinds for limit in [own_limit(kind, MOST)]
    ]


@contextmanager
def run_busybox(engine_url: str, **options: object) -> Iterator[str]:
    """The id of a container that only waits; removed afterwards."""
    client = docker.DockerClient(engine_url)
    try:
        client.api.import_image_from_data(root_file_system(), repository=IMAGE, tag="1")
        # Podman gives it another name; a private engine has no other image.
        image = client.images.list()[0].id
        container = client.containers.run(
            image,
            ["/bin/sh", "-c", "while :; do sleep 60; done"],
            detach=True,
            ulimits=_limits(),
            network_mode="none",
            **options,
        )
        try:
            yield str(container.id)
        finally:
            container.remove(force=True)
    finally:
        client.close()
