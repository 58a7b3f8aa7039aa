"""A terminal for tests: verbs of the command line against a portal."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from common.cli import main
from common.oci.manifests import OCI_INDEX
from common.settings import settings
from master.context import MasterContext
from tests.support.depository import Image
from tests.support.store_box import StoreBox

VERB_S = 60.0


@dataclass(frozen=True)
class Done:
    """How a verb ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Shell:
    """A person at a terminal."""

    home: Path
    server: str
    token: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, text: str = "") -> Done:
        """Run a verb to its end, as the program would, but in this process: it starts in no time."""
        settings.cache_clear()
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch.object(sys, "argv", ["openraas", *arguments]),
            mock.patch.object(sys, "stdin", io.StringIO(text)),
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        settings.cache_clear()
        return Done(code, out.getvalue(), err.getvalue())

    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("OPENRAAS_")}
        own = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config")}
        own["XDG_CACHE_HOME"] = str(self.home / ".cache")
        own["OPENRAAS_STATE_DIR"] = str(self.home / "nothing")
        if self.token:
            own |= {"OPENRAAS_SERVER": self.server, "OPENRAAS_TOKEN": self.token}
        return {**inherited, **own, **self.variables}

    def ok(self, *arguments: str) -> str:
        """What a verb that works prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> object:
        """What a verb prints with --json."""
        return json.loads(self.ok(*arguments, "--json"))

    def fails(self, code: int, *arguments: str) -> str:
        """What a verb that fails says."""
        done = self.run(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr


@dataclass
class World:
    """A master with a portal, and two boxes that store things."""

    context: MasterContext
    url: str
    boxes: list[StoreBox]
    operator: Shell
    password: str
    directory: Path

    def shell(self, token: str = "") -> Shell:
        """Another person's."""
        home = self.directory / f"home-{len(list(self.directory.glob('home-*')))}"
        home.mkdir()
        return Shell(home, self.url, token)


def layout(directory: Path, image: Image) -> Path:
    """The image as an OCI layout."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    descriptor = None
    for data, media_type in image.parts:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        descriptor = descriptor or {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    return directory


def platforms_layout(directory: Path, *architectures: str) -> Path:
    """An OCI layout of one image for several platforms, each with a layer of its own."""
    made = {name: Image(50_000, seed=number, architecture=name) for number, name in enumerate(architectures)}
    entries = []
    for name, image in made.items():
        layout(directory, image)
        (entry,) = json.loads((directory / "index.json").read_text())["manifests"]
        entries.append({**entry, "platform": {"os": "linux", "architecture": name}})
    (directory / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    )
    return directory
