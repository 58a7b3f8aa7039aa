"""The samples' base image for private engines: made from Debian's packages once, then kept for later test runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import docker

from master.up.building import BASE_IMAGE, make_base
from tests.support.engine import ROOT

IMPORT_LIMIT_S = 300
_KEPT = ROOT / "openraas-test-debian.tar"


def give_base_image(engine_url: str) -> None:
    """Let an engine have the base image, so that no test waits for its making but the one that is about it."""
    if not _KEPT.exists():
        with tempfile.TemporaryDirectory(dir=ROOT) as directory:
            made = Path(directory) / "base.tar"
            make_base(made)
            made.rename(_KEPT)
    repository, _, tag = BASE_IMAGE.partition(":")
    client = docker.DockerClient(base_url=engine_url, timeout=IMPORT_LIMIT_S)
    try:
        client.api.import_image_from_file(
            str(_KEPT), repository=repository, tag=tag, changes=['CMD ["bash"]']
        )
    finally:
        client.close()
