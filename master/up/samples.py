"""The sample applications: their images are built here once, and then pushed like anybody's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from common.cli import json_option, print_json
from common.errors import NotFound, OpenRaaSError
from common.settings import Settings, settings
from common.supervision import openraas
from master.catalogue.manifest import Manifest, load_manifest
from master.cli.client import Client, Refused, part
from master.up import engine
from master.up.building import Builder
from master.up.display import Display
from master.up.layout import Layout

# Small and soon built. The others take minutes: `up --demo` opens its first page before it builds them.
QUICK = ("site", "shell")
# What most people look for: before the others, which follow by name.
SOON = ("notebook", "desktop")
VERB_S = 900.0
CONTENT_DOCKERFILE = "content.Dockerfile"
NOT_THERE = 404


@dataclass(frozen=True)
class Sample:
    """A sample application: a folder with a manifest, a Dockerfile, and perhaps files to be served."""

    folder: Path
    manifest: Manifest

    @property
    def images(self) -> list[str]:
        """Every image that its services use."""
        return sorted({service.image for service in self.manifest.services.values()})

    @property
    def filesets(self) -> list[str]:
        """Every fileset that its services mount."""
        return sorted({use.name for service in self.manifest.services.values() for use in service.filesets})


def folder_of(conf: Settings) -> Path:
    """Where the samples are: as the operator says, in the installed package, or in a checkout."""
    root = Path(__file__).parents[2]
    candidates = [root / "master" / "catalogue" / "samples", root / "compose" / "applications"]
    if conf.samples_dir is not None:
        candidates = [conf.samples_dir]
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        raise NotFound(
            f"There are no sample applications in {candidates[-1]}.",
            field="samples_dir",
            remedy="Set OPENRAAS_SAMPLES_DIR to compose/applications of a checkout.",
        )
    return found


def every_name(conf: Settings) -> list[str]:
    """The names of all samples that there are, in the order in which they are published."""
    names = {path.parent.name for path in folder_of(conf).glob("*/manifest.yaml")}
    first = [name for name in (*QUICK, *SOON) if name in names]
    return [*first, *sorted(names.difference(first))]


def is_published(client: Client, name: str) -> bool:
    """Whether the catalogue has the sample."""
    return _exists(client, f"/applications/{part(name)}")


def find(conf: Settings, name: str) -> Sample:
    """One sample by name; raises NotFound."""
    folder = folder_of(conf) / name
    if not (folder / "manifest.yaml").is_file():
        raise NotFound(
            f"There is no sample application {name}.",
            field="NAME",
            remedy="Leave the name out to publish all that there are.",
        )
    return Sample(folder, load_manifest((folder / "manifest.yaml").read_text()))


class Publisher:
    """Brings samples into the catalogue, doing only what is missing."""

    def __init__(
        self,
        conf: Settings,
        client: Client,
        display: Display,
        *,
        engine_url: str,
        environment: dict[str, str],
    ) -> None:
        self._settings = conf
        self._client = client
        self._display = display
        self._engine_url = engine_url
        self._environment = environment

    def publish(self, names: Iterable[str]) -> None:
        """Build and push images, put filesets, add manifests. Raises OpenRaaSError."""
        for name in names:
            sample = find(self._settings, name)
            for image in sample.images:
                if not _exists(self._client, f"/images/tags/{_as_path(image)}"):
                    self._push(sample, image)
            for fileset in sample.filesets:
                if not _exists(self._client, f"/filesets/{part(fileset)}"):
                    self._put(sample, fileset)
            if not is_published(self._client, name):
                manifest = (sample.folder / "manifest.yaml").read_text()
                self._client.send("POST", "/applications", {"manifest": manifest})

    def _put(self, sample: Sample, fileset: str) -> None:
        """Its files lie in `content/`, or are what an image holds that `content.Dockerfile` describes."""
        if not (sample.folder / CONTENT_DOCKERFILE).is_file():
            self._put_files(fileset, sample.folder / "content")
            return
        with tempfile.TemporaryDirectory() as folder:
            builder = Builder(self._engine_url, self._display)
            try:
                builder.build_files(sample.folder, CONTENT_DOCKERFILE, fileset, Path(folder))
            finally:
                builder.close()
            self._put_files(fileset, Path(folder))

    def _put_files(self, fileset: str, content: Path) -> None:
        with self._display.step(f"Putting the fileset {fileset}"):
            self._verb("fileset", "put", fileset, str(content), "--public")

    def _push(self, sample: Sample, image: str) -> None:
        builder = Builder(self._engine_url, self._display)
        try:
            if not builder.has(image):
                builder.build(sample.folder, image)
        finally:
            builder.close()
        with self._display.step(f"Pushing the image {image}"):
            self._verb("image", "import", image)

    def _verb(self, *arguments: str) -> None:
        """A verb of our own command line: samples take the road that everybody takes."""
        done = subprocess.run(
            openraas(*arguments),
            env={**self._environment, "DOCKER_HOST": self._engine_url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERB_S,
            check=False,
        )
        if done.returncode:
            problem = done.stderr.strip().removeprefix("openraas: ")
            raise OpenRaaSError(f"openraas {' '.join(arguments)} failed: {problem}")


def _exists(client: Client, path: str) -> bool:
    try:
        client.get(path)
    except Refused as error:
        if error.http_status == NOT_THERE:
            return False
        raise
    return True


def _as_path(image: str) -> str:
    """`repository/tag` of `repository:tag`."""
    repository, _, tag = image.rpartition(":")
    return f"{repository}/{part(tag)}"


@click.group()
def samples() -> None:
    """The sample applications."""


@samples.command()
@click.argument("names", nargs=-1)
@json_option
def publish(names: tuple[str, ...], as_json: bool) -> None:
    """Build and publish sample applications (site, shell, notebook, desktop, …); default: all that are missing."""
    conf = settings()
    wanted = list(names) or every_name(conf)
    with Client() as client:
        publisher = Publisher(
            conf,
            client,
            Display(Console(stderr=as_json)),
            engine_url=engine.answering(Layout(conf.state_dir)),
            environment=dict(os.environ),
        )
        publisher.publish(wanted)
    if as_json:
        print_json({"published": wanted})
