"""The container engines that this project can use, and how the one of a box is found.

A new engine is one module with a class in `ENGINES`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

from common.logs import get_logger
from workers.compute.engine import Engine
from workers.compute.engines.docker import DockerEngine
from workers.compute.engines.podman import PodmanEngine
from workers.compute.errors import EngineUnavailable
from workers.compute.sockets import connect, usual_sockets

log = get_logger(__name__)

# Whoever recognises itself first is it: Podman's answer also looks like Docker's.
ENGINES = (PodmanEngine, DockerEngine)
PROBE_S = 5.0


def find_engine(url: str = "") -> Engine:
    """The engine at `url`, else the first that answers on a usual socket. Raises EngineUnavailable."""
    tried = []
    for candidate in [url] if url else usual_sockets():
        try:
            version = _version(candidate)
        except (OSError, ValueError, http.client.HTTPException) as error:
            tried.append(f"{candidate} ({error})")
            continue
        for kind in ENGINES:
            if kind.recognises(version):
                engine: Engine = kind(candidate)
                log.info("container engine found", engine=engine.name, version=version.get("Version"))
                return engine
        tried.append(f"{candidate} (an unknown engine)")
    raise EngineUnavailable(
        f"No container engine answers; tried {', '.join(tried)}.",
        remedy="Install and start one (apt-get install docker.io), name its socket in engine_url, "
        "or leave out the role compute.",
    )


def _version(url: str) -> Mapping[str, Any]:
    connection = connect(url, timeout_s=PROBE_S)
    try:
        connection.request("GET", "/version")
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise ValueError(f"status {response.status}")
        answer: Mapping[str, Any] = json.loads(body)
        return answer
    finally:
        connection.close()
