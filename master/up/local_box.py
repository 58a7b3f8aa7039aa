"""The box beside the master: a box like any other, which `up` lets join and whose programs it watches."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.addresses import is_everywhere, is_loopback
from common.errors import OpenRaaSError
from common.files import read_secret
from common.supervision import openraas
from common.words import Role
from master.up.layout import Layout

JOIN_S = 60.0


class LocalBox:
    """What `up` knows of its box, through the files and verbs of the box; it imports nothing of `workers`."""

    def __init__(self, layout: Layout, file: Path | None) -> None:
        self._layout = layout
        self._file = file

    def _options(self) -> dict[str, Any]:
        """`box.toml` once it has joined, before that the operator's file."""
        path = self._layout.box_options if self._layout.box_options.exists() else self._file
        return tomllib.loads(path.read_text()) if path else {}

    @property
    def name(self) -> str:
        """Its id; known once it has joined."""
        return str(self._options()["box"])

    @property
    def computes(self) -> bool:
        """Whether it runs containers, and so needs an engine."""
        return Role.COMPUTE in self._options().get("roles", [Role.COMPUTE])

    def has_joined(self, redis_url: str) -> bool:
        """Whether it has joined this master, and its Redis still answers where it was then."""
        if not self._layout.box_identity.exists():
            return False
        known = urlsplit(json.loads(read_secret(self._layout.box_identity))["answer"]["redis_url"])
        now = urlsplit(redis_url)
        return (known.scheme, known.port) == (now.scheme, now.port)

    def join(self, portal: str, token: str, *, listen: str, environment: Mapping[str, str]) -> None:
        """Join as every box does, with a token that only goes through a pipe. Raises OpenRaaSError."""
        options = ["--state-dir", str(self._layout.box), "--again"]
        if not is_loopback(listen) and not is_everywhere(listen):
            options += ["--address", listen]
        file = self._layout.box_options if self._layout.box_options.exists() else self._file
        if file is not None:
            options += ["--config", str(file)]
        done = subprocess.run(
            openraas("box", "join", portal, "-", *options),
            env=dict(environment),
            input=token,
            capture_output=True,
            text=True,
            timeout=JOIN_S,
            check=False,
        )
        if done.returncode:
            problem = done.stderr.strip().removeprefix("openraas: ")
            raise OpenRaaSError(f"This machine could not join: {problem}")

    def check(self) -> None:
        """Raise ProgramFailed with the end of its log if one of the box's own programs ended."""
        supervisor = self._layout.box_supervisor()
        if not supervisor.is_running():
            return
        failed = [state.name for state in supervisor.states().values() if state.has_failed]
        if failed:
            supervisor.wait(failed, limit_s=0)
