"""Reading an image out of the local container engine (Docker Engine API, "Export an image")."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from common.errors import NotFound, Unavailable
from master.cli.client import check, part

SOCKETS = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))
ANSWER_S = 120.0


@contextmanager
def export(reference: str) -> Iterator[Path]:
    """The image as a tar, for as long as the context is open. Raises NotFound or Unavailable."""
    with TemporaryDirectory(prefix="openraas-import-") as folder, _engine() as engine:
        path = Path(folder) / "image.tar"
        try:
            # The whole name goes into the path with its slashes, as the engine's own client sends it.
            target = f"/images/{part(reference).replace('%2F', '/').replace('%3A', ':')}/get"
            with engine.stream("GET", target) as answer, path.open("wb") as file:
                if answer.status_code in (404, 500):
                    answer.read()
                    raise NotFound(
                        f"The container engine has no image {reference}.",
                        field="image",
                        remedy="See docker image ls.",
                    )
                for piece in check(answer).iter_bytes():
                    file.write(piece)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The container engine does not answer: {error}.", remedy="Start it, or set DOCKER_HOST."
            ) from error
        yield path


def _engine() -> httpx.Client:
    given = os.environ.get("DOCKER_HOST", "")
    if given and not given.startswith("unix://"):
        base = given.replace("tcp://", "http://", 1)
        return httpx.Client(base_url=base, timeout=ANSWER_S)
    sockets = [Path(given.removeprefix("unix://"))] if given else list(SOCKETS)
    socket = next((path for path in sockets if path.exists()), None)
    if socket is None:
        raise Unavailable(
            f"There is no container engine at {' or '.join(map(str, sockets))}.",
            remedy="Start it, or set DOCKER_HOST.",
        )
    return httpx.Client(
        base_url="http://engine", transport=httpx.HTTPTransport(uds=str(socket)), timeout=ANSWER_S
    )
