"""Manifests: how an application is described, in YAML or JSON. docs/manifest.md is the guide for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from common.access import HANDED, WEB, Access, Way
from common.errors import BadInput
from common.readiness import Readiness
from common.service import (
    Capability,
    ContainerPath,
    Egress,
    MountPoint,
    ServiceSpec,
    VariableName,
    Warming,
    is_below,
)
from common.units import Duration, Rate, Size
from common.words import LABEL, REPOSITORY, TAG, Frozen, Name, Resources
from master.catalogue.options import Option, OptionType, OptionValue, check
from master.catalogue.placement import ManifestPlacement, check_placements

MAXIMUM_CHARACTERS = 64 * 1024
MAXIMUM_DEPTH = 20
IMAGE = f"{REPOSITORY.removesuffix('$')}(:{TAG[1:-1]})?$"

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}")


class BadManifest(BadInput):
    """A manifest that cannot be accepted; `field` is the key, with dots."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message, field=field, remedy="See openraas manifest schema, or docs/manifest.md.")


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write it in quotes: YAML takes yes, no, on, off, true and false for truth values")
    return str(value) if isinstance(value, int | float) else value


def _amount(example: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": [example]})


Text = Annotated[str, BeforeValidator(_as_text), StringConstraints(max_length=10_000)]
ServiceName = Annotated[str, StringConstraints(pattern=LABEL)]
ImageName = Annotated[
    str, StringConstraints(pattern=IMAGE, max_length=200), AfterValidator(lambda name: _tagged(name))
]


def _tagged(image: str) -> str:
    return image if ":" in image else f"{image}:latest"


class ManifestResources(Frozen):
    """What one instance of a service may use, and what is reserved for it."""

    cpu: float = Field(1.0, gt=0, le=1024, description="Processor cores.")
    memory: Annotated[Size, _amount("512MiB")] = Field(512 * 2**20, ge=16 * 2**20)
    disk: Annotated[Size, _amount("1GiB")] = Field(
        2**30, ge=0, description="Room in the container's own layer."
    )
    bandwidth: Annotated[Rate, _amount("10Mbit")] = Field(0, ge=0)
    gpu: int = Field(0, ge=0, le=64, description="Whole graphics processors.")

    def amounts(self) -> Resources:
        """The same in the words of the scheduler."""
        return Resources(
            cpu=self.cpu,
            memory_bytes=self.memory,
            disk_bytes=self.disk,
            bandwidth_bps=self.bandwidth,
            gpu=self.gpu,
        )


class FilesetUse(Frozen):
    """A fileset that every instance sees, read-only."""

    name: Name
    mount: MountPoint


class ManifestPrewarm(Frozen):
    """Instances that are loaded before anybody asks; for an application of one service with one instance."""

    instances: int = Field(0, ge=0, le=200, description="How many; an operator may set another number.")
    command: list[Text] | None = Field(
        None,
        description=(
            "Loads what takes long, writes to $OPENRAAS_HANDOVER/ready and reads $OPENRAAS_HANDOVER/go before it "
            "goes on; none: a shell waits, and then runs the service's command."
        ),
    )


class Service(Frozen):
    """One image of an application, and what its instances need."""

    image: ImageName
    command: list[Text] | None = Field(
        None, description="Instead of the image's own; ${option} is filled in."
    )
    environment: dict[VariableName, Text] = Field(
        default_factory=dict, description="${option} is filled in; a secret one stands alone."
    )
    user: Text | None = Field(None, max_length=64)
    working_dir: ContainerPath | None = None
    resources: ManifestResources = ManifestResources()
    pids: int = Field(512, ge=1, le=65536, description="Most processes and threads.")
    filesets: list[FilesetUse] = Field(default_factory=list, max_length=32)
    home: MountPoint | None = Field(None, description="Where the person's own files are mounted, writable.")
    port: int | None = Field(None, ge=1, le=65535)
    access: Access = WEB
    readiness: Readiness = Readiness()
    read_only_root: bool = False
    writable: list[MountPoint] = Field(
        default_factory=list, description="Kept in memory when the root is read-only."
    )
    capabilities: list[Capability] = Field(
        default_factory=list, description="Given back after all were dropped."
    )
    egress: Egress = Egress()
    instances: int = Field(1, ge=1, le=64, description="How many containers of it run.")
    placement: ManifestPlacement = ManifestPlacement()
    prewarm: ManifestPrewarm | None = Field(None, description="None: every start is from nothing.")

    @property
    def given_port(self) -> int | None:
        """Where it answers: as it says, else as its way of access has it."""
        return self.port or self.access.default_port

    @property
    def given_readiness(self) -> Readiness:
        """When it counts as running: as it says, else as its way of access has it."""
        return self.readiness if "readiness" in self.model_fields_set else self.access.readiness

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if self.prewarm is not None and self.prewarm.command is None and self.command is None:
            raise ValueError("prewarm: give it a command, or the service one")
        if self.prewarm is not None and self.access.hands_out:
            raise ValueError(f"prewarm: what a box makes for {self.access.way} belongs to one start")
        if self.given_port is None and self.access.needs_port:
            raise ValueError(f"port: the access {self.access.way} needs one")
        if self.given_port is None and self.readiness.http is not None:
            raise ValueError("readiness.http: a probe by HTTP needs the key port")
        targets = [use.mount for use in self.filesets] + ([self.home] if self.home else []) + self.writable
        for target in targets:
            if targets.count(target) > 1:
                raise ValueError(f"filesets, home and writable: {target} is used twice")
            if self.access.hands_out and is_below(target, HANDED):
                raise ValueError(f"filesets, home and writable: {HANDED} is the box's own for this access")
        return self


class Manifest(Frozen):
    """An application: its services, and the options that a person chooses from."""

    openraas: Literal[1] = Field(description="Version of this format.")
    name: Name
    title: str = Field(min_length=1, max_length=120)
    description: str = Field("", max_length=2000)
    category: str = Field("", max_length=40)
    icon: str = Field(
        "",
        max_length=16,
        description="A symbol (globe, notebook, terminal, …), an emoji, or a letter or two.",
    )
    lease: Annotated[Duration, _amount("8h")] | None = Field(
        None, ge=60, description="How long a deployment may run; none: what the operator set."
    )
    lease_max: Annotated[Duration, _amount("24h")] | None = Field(
        None,
        ge=60,
        description="How long it may run with all that it is extended; none: what the operator set.",
    )
    idle_stop: Annotated[Duration, _amount("1h")] | None = Field(
        None, ge=0, description="Nobody used it for so long: it ends; 0: never; none: what the operator set."
    )
    services: dict[ServiceName, Service] = Field(min_length=1, max_length=32)
    options: list[Option] = Field(default_factory=list, max_length=50)

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        names = [option.name for option in self.options]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"options: {name} is there twice")
        is_single = sum(service.instances for service in self.services.values()) == 1
        if not is_single and any(service.prewarm for service in self.services.values()):
            raise ValueError("prewarm: this is for one service with one instance")
        check_placements({name: service.placement for name, service in self.services.items()})
        for name, service in self.services.items():
            for index, text in enumerate(service.command or []):
                _check_references(f"services.{name}.command.{index}", text, self, secrets=False)
            for variable, text in service.environment.items():
                _check_references(f"services.{name}.environment.{variable}", text, self, secrets=True)
            for field, value in service.access.model_dump().items():
                _check_references(f"services.{name}.access.{field}", str(value), self, secrets=False)
        return self

    def option(self, name: str) -> Option | None:
        """The option of that name."""
        return next((option for option in self.options if option.name == name), None)


def _check_references(key: str, text: str, manifest: Manifest, *, secrets: bool) -> None:
    for match in _REFERENCE.finditer(text):
        if match[0] == "$$":
            continue
        option = manifest.option(match[1])
        if option is None:
            raise ValueError(f"{key}: there is no option {match[1]!r}; write $$ for a dollar sign")
        if option.type is OptionType.SECRET and not (secrets and text == match[0]):
            raise ValueError(
                f"{key}: the secret option {match[1]} may only be all of an environment variable"
            )


class _Loader(yaml.SafeLoader):
    """YAML without aliases (they can blow up) and without keys that are there twice."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise BadManifest("The manifest uses a YAML alias (*name), which is not allowed here.")
        self.depth += 1
        if self.depth > MAXIMUM_DEPTH:
            raise BadManifest(f"The manifest is nested deeper than {MAXIMUM_DEPTH} levels.")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [child.value for child, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise BadManifest(f"The key {key} is there twice.", field=str(key))
        return super().construct_mapping(node, deep)


def load_manifest(text: str) -> Manifest:
    """The manifest in a YAML or JSON document; raises BadManifest that names the key."""
    if len(text) > MAXIMUM_CHARACTERS:
        raise BadManifest(f"The manifest is longer than {MAXIMUM_CHARACTERS} characters.")
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadManifest(f"The manifest is not YAML or JSON{line}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadManifest(f"The manifest is not YAML or JSON: {error}.") from error
    return parse_manifest(content)


def parse_manifest(content: object) -> Manifest:
    """The manifest in a document that was parsed already; raises BadManifest that names the key."""
    if not isinstance(content, dict):
        raise BadManifest("A manifest is a mapping that begins with `openraas: 1`.", field="openraas")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise _explain(error) from error


def _explain(error: ValidationError) -> BadManifest:
    sentences: list[str] = []
    fields: list[str] = []
    for item in error.errors(include_url=False, include_input=False)[:5]:
        # A mapping's bad key is located as `<key>.[key]`.
        key = ".".join(str(part) for part in item["loc"] if part != "[key]")
        message = item["msg"].removeprefix("Value error, ")
        inner = re.match(r"^([\w.]+): (.*)$", message, re.DOTALL)
        if inner and item["type"] == "value_error":
            key = inner[1] if inner[1].startswith("services.") else f"{key}.{inner[1]}".strip(".")
            message = inner[2]
        if item["type"] == "extra_forbidden":
            message = "this key is unknown"
        elif item["type"] == "missing":
            message = "this key is missing"
        sentences.append(f"{key or 'manifest'}: {message.rstrip('.')}.")
        fields.append(key)
    return BadManifest(" ".join(sentences), field=fields[0] or None)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of manifests, for editors and for other programs."""
    schema = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True)
class FilesetMount:
    """A fileset by name, and where it is mounted read-only."""

    name: str
    target: str


@dataclass(frozen=True)
class FilledService:
    """A service with its options filled in, apart from secret ones."""

    spec: ServiceSpec
    filesets: list[FilesetMount]
    home: str | None
    instances: int
    # Environment variable → the secret option that is its value.
    secrets: dict[str, str]
    placement: ManifestPlacement = ManifestPlacement()


def check_options(
    manifest: Manifest, given: Mapping[str, object]
) -> tuple[dict[str, OptionValue], dict[str, str]]:
    """The option values in force, plain and secret ones; raises BadOptions that names each wrong one."""
    return check(manifest.options, given)


def fill(manifest: Manifest, options: Mapping[str, OptionValue]) -> dict[str, FilledService]:
    """Every service with `options` (checked, without the secret ones) in place of `${option}`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        value = options.get(match[1], "")
        return str(value).lower() if isinstance(value, bool) else str(value)

    return {
        name: _fill_service(manifest, name, service, lambda text: _REFERENCE.sub(replace, text))
        for name, service in manifest.services.items()
    }


def _fill_prewarm(prewarm: ManifestPrewarm | None, put: Callable[[str], str]) -> Warming | None:
    if prewarm is None:
        return None
    return Warming(command=[put(text) for text in prewarm.command] if prewarm.command else None)


def _fill_service(
    manifest: Manifest, name: str, service: Service, put: Callable[[str], str]
) -> FilledService:
    secrets = {
        variable: match[1]
        for variable, text in service.environment.items()
        if (match := _REFERENCE.fullmatch(text))
        and (option := manifest.option(match[1] or ""))
        and option.type is OptionType.SECRET
    }
    spec = ServiceSpec.model_validate(
        {
            **service.model_dump(
                exclude={
                    "filesets",
                    "home",
                    "instances",
                    "resources",
                    "command",
                    "environment",
                    "placement",
                    "prewarm",
                }
            ),
            "name": name,
            "port": service.given_port,
            "readiness": service.given_readiness,
            "access": _fill_access(name, service.access, put),
            "command": [put(text) for text in service.command] if service.command else None,
            "environment": {
                key: put(text) for key, text in service.environment.items() if key not in secrets
            },
            "resources": service.resources.amounts(),
            "prewarm": _fill_prewarm(service.prewarm, put),
        }
    )
    filesets = [FilesetMount(use.name, use.mount) for use in service.filesets]
    return FilledService(spec, filesets, service.home, service.instances, secrets, service.placement)


def _fill_access(service: str, access: Way, put: Callable[[str], str]) -> Way:
    """The way of access with options in place of `${option}`, which become numbers where it wants them."""
    fields = {
        key: put(value) if isinstance(value, str) else value for key, value in access.model_dump().items()
    }
    try:
        return type(access).model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"][:1])
        raise BadInput(
            f"services.{service}.access.{field}: {fields.get(field)!r} is not possible there: {problem['msg']}.",
            field=f"services.{service}.access.{field}",
            remedy="Choose another value in the form; if there is none, its manifest is to be corrected.",
        ) from error
