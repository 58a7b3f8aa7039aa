"""Docker Engine, through its SDK. One client for all threads: it keeps its connections open."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool, LogConfig, Mount, Ulimit

from common.status import EngineFacts
from workers.compute.engine import ContainerFacts, ContainerSpec, ImageLayer, NetworkSpec, Pull, StoredImage
from workers.compute.engines.graphics import graphics
from workers.compute.engines.pull import StreamedPull
from workers.compute.errors import BadImage, EngineError, ImageMissing, NetworkTaken

TIMEOUT_S = 60
CONNECTIONS = 16
LOG_BYTES = 10 * 2**20
OPEN_FILES = 65536
# Below these the engine refuses; a service that asks for nothing gets nearly nothing, not everything.
LEAST_CPU = 0.01
LEAST_MEMORY_BYTES = 6 * 2**20

# Storage drivers that can limit a container's own layer; overlay2 only on XFS with project quotas.
_LIMITING_DRIVERS = frozenset({"btrfs", "zfs", "devicemapper"})
_LIMITING_FILE_SYSTEM = "xfs"
# A command that is missing shows as exit code 127 of the init process, so it is not among these.
_BAD_IMAGE = (
    "unable to find user",
    "unable to find group",
    "no matching entries",
    "exec format error",
    "command that was not found",
)
# Docker's first version that unpacks layers in zstd.
ZSTD_SINCE = 23
# Podman's words for what Docker says by 409.
_NAME_TAKEN = "is already in use by"
# Docker's word and Podman's.
_ENDED = frozenset({"die", "died"})
_LIVING = frozenset({"running", "paused"})


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the SDK's errors into EngineError; `what` was being done."""
    try:
        yield
    except APIError as error:
        raise EngineError(f"{what}: {error.explanation or error}.") from error
    except (DockerException, requests.RequestException) as error:
        raise EngineError(
            f"{what}: the container engine does not answer ({error}).", remedy="Is it running?"
        ) from error


class DockerEngine:
    """Docker Engine 20.10 and later."""

    name = "docker"
    gateway_resolves_names = False

    def __init__(self, url: str) -> None:
        self._url = url
        with _translated("Connecting"):
            # Any: the stubs know less than the SDK (private helpers) and ask for more (dicts of one form).
            self._api: Any = docker.APIClient(
                base_url=url, version="auto", timeout=TIMEOUT_S, max_pool_size=CONNECTIONS
            )
        self._layers: dict[str, tuple[ImageLayer, ...]] = {}
        self._limits_disk: bool | None = None
        self._has_init = True

    @classmethod
    def recognises(cls, version: Mapping[str, Any]) -> bool:
        """Whether the answer to `/version` is this engine's."""
        names = {component.get("Name") for component in version.get("Components") or ()}
        return "Engine" in names or not names

    def facts(self) -> EngineFacts:
        """See Engine."""
        with _translated("Asking for the version"):
            version, info = self._api.version(), self._api.info()
        told = str(version.get("Version", ""))
        return EngineFacts(
            name=self.name, version=told[:64], store=_store(info)[:64], zstd=self._takes_zstd(told)
        )

    def _takes_zstd(self, version: str) -> bool:
        """Docker unpacks layers in zstd since Engine 23.0 (moby, pull request 43225), in both image stores."""
        major = version.partition(".")[0]
        return major.isdecimal() and int(major) >= ZSTD_SINCE

    # Images

    def has_image(self, reference: str) -> bool:
        """See Engine."""
        with _translated("Looking for an image"):
            try:
                self._api.inspect_image(reference)
            except NotFound:
                return False
            return True

    def pull(self, reference: str) -> Pull:
        """See Engine."""
        target = "/images/create?" + urlencode({"fromImage": reference})
        return StreamedPull(self._url, target, reference)

    def images(self, registry: str) -> list[StoredImage]:
        """See Engine. A layer's key is its line of the image's history: engines do not tell sizes by digest."""
        found = []
        with _translated("Listing images"):
            for entry in self._api.images():
                names = _names_at(entry, registry)
                if names and (layers := self._layers_of(entry["Id"])) is not None:
                    found.append(StoredImage(entry["Id"], names, layers))
        self._layers = {image.id: image.layers for image in found}
        return found

    def _layers_of(self, image: str) -> tuple[ImageLayer, ...] | None:
        if image in self._layers:
            return self._layers[image]
        with _absent_is_fine():
            return tuple(_layer(line) for line in self._api.history(image))
        return None  # it was removed meanwhile

    def remove_image(self, name: str) -> bool:
        """See Engine."""
        with _translated("Removing an image"), _absent_is_fine():
            try:
                self._api.remove_image(name)
            except APIError as error:
                if error.status_code == requests.codes.conflict or "in use" in str(error.explanation):
                    return False
                raise
        return True

    # Containers

    def create(self, spec: ContainerSpec) -> str:
        """See Engine."""
        with _translated(f"Making the container {spec.name}"):
            try:
                return self._create(spec)
            except APIError as error:
                if "storage-opt" in str(error.explanation):
                    self._limits_disk = False  # XFS, but mounted without pquota
                elif "container-init binary not found" in str(error.explanation):
                    self._has_init = False  # Podman without catatonit: the application is process 1
                elif error.status_code == requests.codes.conflict or _NAME_TAKEN in str(error.explanation):
                    self.remove(spec.name)
                else:
                    raise
            return self._create(spec)

    def _create(self, spec: ContainerSpec) -> str:
        try:
            container = self._api.create_container(
                spec.image,
                command=list(spec.command) if spec.command is not None else None,
                hostname=spec.hostname,
                user=spec.user,
                working_dir=spec.working_dir,
                environment=dict(spec.environment),
                labels=dict(spec.labels),
                name=spec.name,
                tty=spec.terminal,
                stdin_open=spec.terminal,
                host_config=self._host_config(spec),
                networking_config=self._networking(spec),
                use_config_proxy=False,
            )
        except NotFound as error:
            if "image" in str(error.explanation).lower():
                raise ImageMissing(f"The engine does not have the image {spec.image}.") from error
            raise
        except APIError as error:
            if "no command specified" in str(error.explanation).lower():
                raise BadImage(f"The image {spec.image} names no command, and the manifest none.") from error
            raise
        return str(container["Id"])

    def _host_config(self, spec: ContainerSpec) -> Any:
        memory = max(spec.memory_bytes, LEAST_MEMORY_BYTES)
        limited = {"storage_opt": {"size": str(spec.disk_bytes)}} if self._limits(spec) else {}
        return self._api.create_host_config(
            network_mode=spec.network,
            nano_cpus=round(max(spec.cpu, LEAST_CPU) * 1e9),
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=spec.pids,
            cap_drop=["ALL"],
            cap_add=list(spec.capabilities) or None,
            security_opt=["no-new-privileges"],
            read_only=spec.read_only_root,
            tmpfs=dict.fromkeys(spec.writable, "rw,nosuid,nodev,mode=1777") or None,
            mounts=[
                Mount(
                    bind.target,
                    bind.source,
                    type="bind",
                    read_only=bind.read_only,
                    propagation="rslave" if bind.live else "rprivate",
                )
                for bind in spec.binds
            ],
            ulimits=self._ulimits(),
            init=self._has_init,
            log_config=self._log_config(),
            **graphics(spec.gpu),
            **limited,
        )

    def _ulimits(self) -> list[Ulimit]:
        files = own_limit(resource.RLIMIT_NOFILE, OPEN_FILES)
        return [Ulimit(name="nofile", soft=files, hard=files), Ulimit(name="core", soft=0, hard=0)]

    def _log_config(self) -> Any:
        return LogConfig(type="json-file", config={"max-size": str(LOG_BYTES), "max-file": "1"})

    def _networking(self, spec: ContainerSpec) -> Any:
        config = self._api.create_endpoint_config(ipv4_address=spec.address, aliases=list(spec.aliases))
        return self._api.create_networking_config({spec.network: config})

    def _limits(self, spec: ContainerSpec) -> bool:
        return bool(spec.disk_bytes) and self.limits_disk()

    def start(self, container: str) -> None:
        """See Engine."""
        with _translated("Starting the container"):
            try:
                self._api.start(container)
            except APIError as error:
                if any(word in str(error.explanation).lower() for word in _BAD_IMAGE):
                    raise BadImage(f"The image cannot be started: {error.explanation}.") from error
                raise

    def stop(self, container: str, *, grace_s: float) -> None:
        """See Engine."""
        with _translated("Stopping the container"), _absent_is_fine():
            self._api.stop(container, timeout=max(1, round(grace_s)))

    def cpu_s(self, container: str) -> float:
        """See Engine."""
        with _translated("Asking for processor time"), _absent_is_fine():
            stats = self._api.stats(container, stream=False, one_shot=True)
            return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
        return 0.0

    def pause(self, container: str) -> None:
        """See Engine."""
        with _translated("Pausing the container"):
            self._api.pause(container)

    def wake(self, container: str) -> None:
        """See Engine."""
        with _translated("Waking the container"):
            try:
                self._api.unpause(container)
            except APIError as error:
                if "not paused" not in str(error.explanation).lower():
                    raise

    def remove(self, container: str) -> None:
        """See Engine."""
        with _translated("Removing the container"), _absent_is_fine():
            self._api.remove_container(container, v=True, force=True)

    def inspect(self, container: str) -> ContainerFacts | None:
        """See Engine."""
        with _translated("Looking at the container"), _absent_is_fine():
            return _facts(self._api.inspect_container(container))
        return None

    def containers(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """See Engine."""
        with _translated("Listing containers"):
            return [
                ContainerFacts(
                    id=entry["Id"], labels=entry["Labels"] or {}, running=entry["State"] in _LIVING
                )
                for entry in self._api.containers(all=True, filters={"label": _label_filter(labels)})
            ]

    def exits(self, labels: Mapping[str, str]) -> Iterator[str]:
        """See Engine."""
        filters = {"type": "container", "label": _label_filter(labels)}
        with _translated("Listening to the engine"):
            for event in self._api.events(filters=filters, decode=True):
                if event.get("Action") in _ENDED:
                    yield str(event["Actor"]["ID"])

    def logs(self, container: str, *, lines: int) -> bytes:
        """See Engine."""
        with _translated("Reading the container's output"), _absent_is_fine():
            return bytes(self._api.logs(container, stdout=True, stderr=True, tail=lines))
        return b""

    def writable_bytes(self, container: str) -> int:
        """See Engine."""
        with _translated("Measuring the container"), _absent_is_fine():
            # The SDK has no parameter for it; `size` is one of GET /containers/{id}/json.
            url = self._api._url("/containers/{0}/json", container)
            answer = self._api._result(self._api._get(url, params={"size": 1}), True)
            return int(answer.get("SizeRw") or 0)
        return 0

    def limits_disk(self) -> bool:
        """See Engine. Asked once."""
        if self._limits_disk is None:
            with _translated("Asking the engine for its storage driver"):
                info = self._api.info()
            below = dict(info.get("DriverStatus") or ()).get("Backing Filesystem")
            self._limits_disk = info.get("Driver") in _LIMITING_DRIVERS or below == _LIMITING_FILE_SYSTEM
        return self._limits_disk

    # Networks

    def create_network(self, spec: NetworkSpec) -> str:
        """See Engine."""
        pool = IPAMPool(subnet=spec.subnet, gateway=spec.gateway)
        with _translated(f"Making the network {spec.name}"):
            try:
                answer = self._api.create_network(
                    spec.name,
                    driver="bridge",
                    ipam=IPAMConfig(pool_configs=[pool]),
                    options=self._bridge_options(spec),
                    labels=dict(spec.labels),
                    check_duplicate=True,
                )
            except APIError as error:
                text = str(error.explanation).lower()
                if any(word in text for word in ("overlap", "conflict", "already", "in use", "being used")):
                    raise NetworkTaken(f"{spec.subnet} is in use: {error.explanation}.") from error
                raise
        return str(answer["Id"])

    def _bridge_options(self, spec: NetworkSpec) -> dict[str, str]:
        return {
            "com.docker.network.bridge.name": spec.bridge,
            "com.docker.network.bridge.enable_icc": "true",
        }

    def remove_network(self, network: str) -> None:
        """See Engine."""
        with _translated("Removing the network"), _absent_is_fine():
            self._api.remove_network(network)

    def networks(self, labels: Mapping[str, str]) -> dict[str, str]:
        """See Engine."""
        with _translated("Listing networks"):
            found = self._api.networks(filters={"label": _label_filter(labels)})
        return {entry["Name"]: entry["Id"] for entry in found}


@contextmanager
def _absent_is_fine() -> Iterator[None]:
    """What is not there needs nothing done to it."""
    try:
        yield
    except NotFound:
        return


def own_limit(kind: int, most: int) -> int:
    """What this process may have, at most `most`: where root may not raise a limit, no container can have more."""
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _label_filter(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]


def _names_at(image: Mapping[str, Any], registry: str) -> tuple[str, ...]:
    return tuple(name for name in image.get("RepoDigests") or () if name.startswith(f"{registry}/"))


def _store(info: Mapping[str, Any]) -> str:
    """How the engine keeps images: a driver of its own (classic), or a snapshotter of containerd."""
    kinds = {str(key): str(value) for key, value in info.get("DriverStatus") or ()}
    containerd = kinds.get("driver-type", "").startswith("io.containerd")
    return f"{'containerd' if containerd else 'classic'} {info.get('Driver', '')}".strip()


def _layer(line: Mapping[str, Any]) -> ImageLayer:
    return ImageLayer(f"{line.get('Created')} {line.get('CreatedBy')} {line['Size']}", int(line["Size"]))


def _facts(answer: Mapping[str, Any]) -> ContainerFacts:
    state = answer["State"]
    return ContainerFacts(
        id=answer["Id"],
        labels=answer["Config"]["Labels"] or {},
        running=bool(state["Running"]),
        exit_code=None if state["Running"] else int(state["ExitCode"]),
        out_of_memory=bool(state.get("OOMKilled")),
        ended_at=None if state["Running"] else datetime.fromisoformat(state["FinishedAt"]).timestamp(),
    )
