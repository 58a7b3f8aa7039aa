"""Building the samples' images with the container engine's own builder.

The build sees the network as this machine does: its proxies, its Python package index and its certificates
are handed in as build arguments and a file, and are not kept in the image's file system.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common import needs
from common.errors import OpenRaaSError, Unavailable
from master.up.display import Display

BASE_IMAGE = "debian:bookworm-slim"
BASE_SUITE = "bookworm"
ENGINE_S = 600
MMDEBSTRAP_S = 900.0
PIP_CONFIG_S = 30.0
MMDEBSTRAP = needs.Need("mmdebstrap", "mmdebstrap", "making a base image without a registry")
DOCKERFILE = "Dockerfile"
# Where the files lie in an image that is nothing but files.
FILES = "/files/."
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES_NAME = "host-ca.crt"
TAIL_LINES = 15

ENGINE = "See that the container engine is well: docker info."
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_NPM_INDEX = "npm_config_registry"
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host")


class BuildFailed(OpenRaaSError):
    """An image could not be built; the message ends with what the build said last."""


class Builder:
    """Builds images with one engine."""

    def __init__(self, engine_url: str, display: Display) -> None:
        try:
            import docker
        except ModuleNotFoundError as error:
            raise Unavailable(
                "Building images needs the Python module docker.",
                remedy="Run: pip install 'openraas[compute]'.",
            ) from error
        self._errors = (docker.errors.DockerException, OSError)
        self._client: Any = docker.DockerClient(base_url=engine_url, timeout=ENGINE_S)
        self._display = display

    def close(self) -> None:
        """Close the connection to the engine."""
        self._client.close()

    def has(self, image: str) -> bool:
        """Whether the engine has the image."""
        return any(image in found.tags for found in self._client.images.list(name=image.rpartition(":")[0]))

    def build(self, folder: Path, image: str, *, dockerfile: str = DOCKERFILE) -> None:
        """Build a Dockerfile in `folder`, and first the images beside it on which it builds.

        Raises BuildFailed, or Unavailable if there is no base image.
        """
        for base in bases(folder / dockerfile):
            if self.has(base):
                continue
            below = folder.parent / base.rpartition(":")[0]
            if base == BASE_IMAGE:
                self._get_base()
            elif (below / DOCKERFILE).is_file():
                self.build(below, base)
        with self._display.step(f"Building the image {image}"):
            self._build(folder, image, dockerfile)

    def build_files(self, folder: Path, dockerfile: str, name: str, target: Path) -> None:
        """Build an image that is nothing but files, and put these into `target`. Raises BuildFailed, Unavailable."""
        image = f"{name}:files"
        self.build(folder, image, dockerfile=dockerfile)
        with self._display.step(f"Taking the files of {name}"):
            try:
                # It is never started, but engines make no container without a command.
                container = self._client.api.create_container(image, command=["/"])["Id"]
                try:
                    self._unpack(container, target)
                finally:
                    self._client.api.remove_container(container, force=True)
                self._client.images.remove(image)
            except self._errors as error:
                raise BuildFailed(f"The files of {name} were not made: {error}", remedy=ENGINE) from error

    def _unpack(self, container: str, target: Path) -> None:
        stream, _ = self._client.api.get_archive(container, FILES)
        with tempfile.TemporaryFile() as file:
            for piece in stream:
                file.write(piece)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                tar.extractall(target, filter="data")

    def _build(self, folder: Path, image: str, dockerfile: str) -> None:
        said: list[str] = []
        try:
            events = self._client.api.build(
                fileobj=_context(folder),
                custom_context=True,
                dockerfile=dockerfile,
                tag=image,
                network_mode="host",
                buildargs=build_arguments(),
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in events:
                if "error" in event:
                    tail = "\n".join(f"    {line}" for line in said[-TAIL_LINES:])
                    raise BuildFailed(f"The image {image} was not built: {event['error']}\n{tail}")
                said += str(event.get("stream", "")).splitlines()
        except self._errors as error:
            raise BuildFailed(f"The image {image} was not built: {error}", remedy=ENGINE) from error

    def _get_base(self) -> None:
        try:
            with self._display.step(f"Pulling {BASE_IMAGE}"):
                self._client.images.pull(BASE_IMAGE)
                return
        except self._errors:
            # No registry in reach: the same base can be made from Debian's packages.
            self._display.console.print(f"{BASE_IMAGE} cannot be pulled; it is made from Debian packages.")
        with self._display.step(f"Making {BASE_IMAGE}"), tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "base.tar"
            make_base(tree)
            repository, _, tag = BASE_IMAGE.partition(":")
            try:
                self._client.api.import_image_from_file(
                    str(tree), repository=repository, tag=tag, changes=['CMD ["bash"]']
                )
            except self._errors as error:
                raise BuildFailed(
                    f"{BASE_IMAGE} was not taken in by the engine: {error}", remedy=ENGINE
                ) from error


def bases(dockerfile: Path) -> list[str]:
    """The images that a Dockerfile builds on. Raises BuildFailed if there is no such file."""
    try:
        text = dockerfile.read_text()
    except OSError as error:
        raise BuildFailed(f"{dockerfile} cannot be read: {error.strerror}.") from error
    return list(dict.fromkeys(re.findall(r"(?mi)^FROM\s+(\S+:\S+)", text)))


def make_base(tree: Path) -> None:
    """Write the base image's file system as a tar. Raises BuildFailed, or Unavailable without mmdebstrap."""
    needs.require([MMDEBSTRAP])
    done = subprocess.run(
        (needs.find(MMDEBSTRAP) or MMDEBSTRAP.command, "--quiet", "--variant=minbase", BASE_SUITE, str(tree)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MMDEBSTRAP_S,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-TAIL_LINES:])
        raise BuildFailed(
            f"{BASE_IMAGE} could not be made: {tail}",
            remedy=f"See that Debian's mirror or a registry with {BASE_IMAGE} can be reached.",
        )


def _context(folder: Path) -> io.BytesIO:
    """The folder as a tar, with this machine's certificates beside it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            if path.name != CERTIFICATES_NAME:
                tar.add(path, arcname=path.name)
        if CERTIFICATES.is_file():
            tar.add(CERTIFICATES.resolve(), arcname=CERTIFICATES_NAME)
    stream.seek(0)
    return stream


def build_arguments() -> dict[str, str]:
    """How this machine reaches the network: proxies (also apt's) and the package indexes of Python and npm."""
    found = {name: value for name in (*_PROXIES, _NPM_INDEX) if (value := _environment(name))}
    if "http_proxy" not in found and (proxy := _apt_proxy()):
        found["http_proxy"] = proxy
    for name, value in _pip_settings().items():
        found[f"PIP_{name.upper().replace('-', '_')}"] = value
    return found


def _environment(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def _apt_proxy() -> str:
    lines = _lines(("apt-config", "shell", "PROXY", "Acquire::http::Proxy"))
    return next((line.partition("=")[2].strip("'\"") for line in lines if line.startswith("PROXY=")), "")


def _pip_settings() -> dict[str, str]:
    """pip's own settings of this machine, without folders, which a build cannot see."""
    found: dict[str, list[str]] = {}
    # Later lines of `pip config list` are those of the environment, which win.
    for line in _lines((sys.executable, "-m", "pip", "config", "list")) or _lines(("pip", "config", "list")):
        key, _, value = line.partition("=")
        option = key.rpartition(".")[2]
        words = _reachable(value.strip("'\"").replace("\\n", " ").split())
        if option in _PIP_OPTIONS and words:
            found[option] = words
    for option in _PIP_OPTIONS:
        words = _reachable(os.environ.get(f"PIP_{option.upper().replace('-', '_')}", "").split())
        if words:
            found[option] = words
    return {option: " ".join(words) for option, words in found.items()}


def _reachable(words: Iterable[str]) -> list[str]:
    return [word for word in words if "://" not in word or word.startswith(("http://", "https://"))]


def _lines(command: tuple[str, ...]) -> list[str]:
    """What a small tool prints; nothing where there is no such tool."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PIP_CONFIG_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
