"""What a box's owner decides, and the identity that the master gave it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from common.errors import BadInput, NotFound
from common.files import read_secret, write_secret
from common.join import JoinAnswer
from common.units import Duration, Rate, Size
from common.words import BoxId, BoxKind, Coordinate, Frozen, Name, Role
from workers.box.owner import Hours, OwnerRules

CONFIG_FILE = "box.toml"
IDENTITY_FILE = "identity.json"

# Front and nginx do little, and browsers, other boxes and the engine wait for them while the engine unpacks with all
# cores: they go before what was started with the same priority.
NICENESS = -5


class BoxConfig(Frozen):
    """Options of `openraas box join`, kept in `box.toml` under the box's state directory."""

    box: BoxId
    state_dir: Path
    roles: frozenset[Role] = frozenset(Role)
    kind: BoxKind = BoxKind.DESKTOP
    open: bool = Field(True, description="May run other people's containers.")
    fixed: bool = Field(True, description="Is expected to stay reachable.")
    address: str = Field("127.0.0.1", description="Where browsers and other boxes reach this one.")
    front_port: int = Field(8090, ge=1, le=65535, description="Gateway and blob server.")
    filestore_port: int = Field(8091, ge=1, le=65535)
    loopback_port: int = Field(
        8092, ge=1, le=65535, description="Where the container engine pulls; loopback only."
    )
    metrics_port: int = Field(0, ge=0, le=65535)
    lent_bytes: Size = Field(20 * 2**30, description="Disk space lent to OpenRaaS.")
    free_bytes: Size = Field(10**9, description="After a stop, layers go until this much of it is free.")
    layer_timer_s: Duration = Field(86400.0, description="An unused layer goes after this.")
    upload_timer_s: Duration = Field(
        1800.0, gt=0, description="A push that nobody goes on with is forgotten."
    )
    offer_layers: bool = Field(True, description="Let other boxes fetch the layers that are here.")
    replicate_bps: Rate = Field(
        100_000_000, gt=0, description="Limit of the bandwidth at which copies of filesets are fetched."
    )
    cpu: float | None = Field(None, gt=0, description="Lent cores; none: all that are detected.")
    memory_bytes: Size | None = Field(None, description="Lent memory; none: what is detected, less a tenth.")
    bandwidth_bps: Rate = Field(300_000_000, description="Lent bandwidth.")
    layers_in_bps: Rate | None = Field(None, description="Limit of fetching layers; none: the line's.")
    layers_out_bps: Rate | None = Field(None, description="Limit of serving layers; none: the line's.")
    gpu: int | None = Field(None, ge=0)
    labels: dict[str, str] = Field(default_factory=dict)
    lend_hours: list[Hours] = Field(
        default_factory=list, description="When new instances are taken, by the box's clock; none: always."
    )
    most_load: float | None = Field(
        None, gt=0, description="Run queue per core from which on no new instance is taken; none: any."
    )
    most_temperature_c: float | None = Field(
        None, gt=0, description="Temperature above which no new instance is taken; none: any."
    )
    owner: Name | None = Field(None, description="Whose box this is; none: who made the token.")
    coordinate: Coordinate | None = Field(None, description="A fixed place in network space; none: measured.")
    probe_every_s: Duration = Field(
        10.0, description="How often the round trip to one other box is measured; 0: never."
    )
    allow_private_egress: bool = Field(
        False, description="Let applications that ask for it reach private addresses."
    )
    engine_url: str = Field("", description="Socket of the container engine; empty: probed.")
    network_range: str = Field("10.213.0.0/16", description="Bridges of deployments are cut from this.")

    status_every_s: Duration = Field(3.0, description="Pause between two status records.")
    status_ttl_s: Duration = 15.0
    converge_every_s: Duration = Field(
        3.0, description="How often the wish list is read without being woken."
    )
    key_renewal_s: Duration = Field(1800.0, description="How often an instance's filestore key is renewed.")
    source_timeout_s: Duration = Field(
        2.0, description="A depository that sends nothing for so long is left, and asked again later."
    )
    mount_timeout_s: Duration = Field(10.0, description="Limit of one mount attempt.")
    stop_grace_s: Duration = Field(5.0, description="Between asking a container to end and ending it.")
    redis_timeout_s: Duration = 5.0
    engine_timeout_s: Duration = Field(
        10.0, description="Limit of the engine's first word about a container's output."
    )
    log_readers: int = Field(32, ge=1, description="Who reads the output of containers at once.")
    terminal_linger_s: Duration = Field(
        900.0, description="How long a shell lives on that nobody looks at: until then one finds it again."
    )
    log_level: str = "INFO"
    log_format: str = "json"

    @classmethod
    def load(cls, state_dir: Path, **overrides: Any) -> BoxConfig:
        """The configuration in `state_dir`; raises NotFound if the box never joined, BadInput for bad values."""
        path = state_dir / CONFIG_FILE
        if not path.is_file():
            raise NotFound(f"{path} does not exist.", remedy="Join first: openraas box join MASTER TOKEN.")
        try:
            values = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise BadInput(
                f"{path} is not TOML: {error}.",
                field=str(path),
                remedy="Correct it, or join anew with --again.",
            ) from error
        return cls.build({**values, "state_dir": state_dir, **overrides}, source=str(path))

    @classmethod
    def build(cls, values: dict[str, Any], *, source: str) -> BoxConfig:
        """A configuration from options; raises BadInput that names the key and where it stands."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadInput(
                f"{source}: {field}: {first['msg']}.", field=field, remedy="See openraas box join --help."
            ) from error

    @property
    def owner_rules(self) -> OwnerRules:
        """When the owner lets new instances in."""
        return OwnerRules(tuple(self.lend_hours), self.most_load, self.most_temperature_c)

    def with_engine(self) -> BoxConfig:
        """The same with the engine that `DOCKER_HOST` names, as for every Docker tool, unless the owner chose."""
        named = os.environ.get("DOCKER_HOST", "")
        return self if self.engine_url or not named else self.model_copy(update={"engine_url": named})


class Identity(Frozen):
    """What joining gave, with the box's own private halves. Kept 0600."""

    answer: JoinAnswer
    seal_key: str

    @classmethod
    def load(cls, state_dir: Path) -> Identity:
        """Raises NotFound if the box has not joined."""
        path = state_dir / IDENTITY_FILE
        if not path.is_file():
            raise NotFound(f"{path} does not exist.", remedy="Join first: openraas box join MASTER TOKEN.")
        return cls.model_validate_json(read_secret(path))

    def save(self, state_dir: Path) -> None:
        """Write the identity so that only the box reads it."""
        write_secret(state_dir / IDENTITY_FILE, self.model_dump_json())


class BoxPaths:
    """Where things lie under a box's state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir
        self.table = state_dir / "box.db"
        self.store = state_dir / "store"
        self.filesets = state_dir / "filesets"
        self.exports = state_dir / "exports"
        self.mounts = state_dir / "mounts"
        self.places = state_dir / "places"
        self.handovers = state_dir / "handovers"
        self.keys = state_dir / "keys"
        self.run = state_dir / "run"
        self.logs = state_dir / "logs"
        self.gateway = state_dir / "gateway"
        self.certificate = state_dir / "tls" / "box.crt"
        self.private_key = state_dir / "tls" / "box.key"
        self.authority = state_dir / "tls" / "ca.crt"
        self.trust = state_dir / "tls" / "trust.json"
        self.front_socket = self.run / "front.sock"
