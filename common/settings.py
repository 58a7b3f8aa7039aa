"""Settings: from the environment (`OPENRAAS_…`), then a TOML file, then the defaults below.

`openraas config` prints what is in force. Limits of waiting that an operator may want to change have a name here;
the others are constants beside the code that waits.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from common.errors import BadInput
from common.units import Duration, Size

CONFIG_VARIABLE = "OPENRAAS_CONFIG"


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/openraas")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "openraas"


class Settings(BaseSettings):
    """What an operator may set for a master; boxes read `workers.box.config`."""

    model_config = SettingsConfigDict(env_prefix="OPENRAAS_", extra="forbid", frozen=True)

    state_dir: Path = Field(default_factory=_default_state_dir, description="Everything that must survive.")
    listen: str = Field("127.0.0.1", description="Address for Redis and the web; TLS unless loopback.")
    tls: str = Field(
        "auto",
        pattern="^(auto|internal)$",
        description="Whether the portal speaks TLS: auto: off loopback; internal: always, by our own authority.",
    )
    redirect_port: int = Field(
        0, ge=0, le=65535, description="A port that sends browsers without TLS on to the portal; 0: none."
    )
    web_port: int = Field(8080, ge=1, le=65535)
    redis_port: int = Field(6390, ge=1, le=65535)
    metrics_port: int = Field(
        9464,
        ge=0,
        le=65535,
        description=(
            "Metrics: the scheduler's one port further, the lifecycle's two, more schedulers' three and on; 0: none."
        ),
    )
    redis_url: str = Field("", description="An own Redis; empty: start one under the state directory.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite under the state directory.")
    applications_domain: str = Field("localhost", description="Instances are `<instance>.<this>`.")
    samples_dir: Path | None = Field(None, description="Sample applications; none: those that came along.")

    log_level: str = "INFO"
    log_format: str = Field("json", pattern="^(json|text)$")

    web_threads: int = Field(64, ge=1, description="Requests served at once, event streams not counted.")
    web_streams: int = Field(
        512, ge=1, description="Pages and outputs followed at once by one web process; others poll."
    )
    web_proxies: int = Field(
        0, ge=0, le=5, description="Reverse proxies in front of the web whose X-Forwarded-… headers count."
    )
    web_proxy_address: str = Field(
        "",
        description="The only address whose forwarded headers count; empty: any, so close the port to others.",
    )
    session_s: Duration = Field(12 * 3600.0, description="How long a sign-in lasts.")
    sign_up: str = Field(
        "approval",
        pattern="^(closed|approval|open)$",
        description="Who may make an account: nobody, everybody once an administrator approves, or everybody.",
    )
    openid_issuer: str = Field("", description="An OpenID provider to sign in with, by its issuer URL.")
    openid_name: str = Field("", description="What people call the provider; empty: its host.")
    openid_client_id: str = Field("", description="What this portal is called there.")
    openid_client_secret: SecretStr = Field(SecretStr(""), description="The secret it was given there.")
    openid_scopes: str = Field("openid profile email", description="What to ask the provider for.")
    openid_sign_up: str = Field(
        "approval",
        pattern="^(closed|approval|open)$",
        description="Who comes from the provider for the first time: refused, to be approved, or let in.",
    )
    openid_name_claim: str = Field("preferred_username", description="The claim with a person's name here.")
    openid_groups_claim: str = Field("groups", description="The claim with a list of the provider's groups.")
    openid_groups: dict[str, str] = Field(
        default_factory=dict, description="The provider's groups, and the group here whose members they are."
    )
    openid_roles: dict[str, str] = Field(
        default_factory=dict,
        description="The provider's groups, and the role of their members; empty: roles are given here.",
    )
    reset_link_s: Duration = Field(24 * 3600.0, description="How long a link to set a password holds.")
    policy: str = Field("start-soonest", description="Name of the placement policy in force.")
    latency_weight: float = Field(
        0.02, ge=0, description="Seconds of start that a millisecond of round trip is worth (start-soonest)."
    )
    distrust_weight_s: Duration = Field(
        30.0, description="Seconds of start that a box sure to fail is worse by (start-soonest)."
    )
    lease_s: Duration = Field(8 * 3600.0, description="Lease of a deployment whose manifest says nothing.")
    lease_max_s: Duration = Field(
        24 * 3600.0, description="How long a deployment may run with all that its lease is extended."
    )
    lease_by_use_s: Duration = Field(
        3600.0,
        description="Whoever uses a deployment has at least so long from then on; 0: use extends nothing.",
    )
    lease_warn_s: Duration = Field(600.0, description="How long before its end a person is told.")
    idle_stop_s: Duration = Field(
        0.0, description="A deployment that nobody used for so long ends; 0: never."
    )
    prewarm_lead_s: Duration = Field(
        300.0, description="How long before a time of the timetable instances are made ready."
    )
    prefetch_lead_s: Duration = Field(
        1800.0, description="How long before a time of the timetable layers are fetched."
    )
    prewarm_stay_s: Duration = Field(
        900.0, description="How long after a time of the timetable they wait for those who are late."
    )
    time_zone: str = Field("UTC", description="Of the timetable, where an entry names none.")
    ticket_s: Duration = Field(60.0, description="How long a launch ticket may be used.")
    layer_ticket_s: Duration = Field(3600.0, description="How long layers may be read after a placement.")
    repository_ticket_s: Duration = Field(900.0, description="How long a token of docker login holds.")
    fileset_ticket_s: Duration = Field(3600.0, description="How long a fileset may be put or got.")
    log_timeout_s: Duration = Field(10.0, description="A box that sends no output for so long is left.")
    log_follow_s: Duration = Field(3600.0, description="How long output may be followed at one go.")
    people_add_boxes: bool = Field(
        True, description="Whether every person may add machines of their own, or operators alone."
    )
    join_token_s: Duration = Field(3600.0, description="How long a box may join with a token.")

    status_ttl_s: Duration = Field(15.0, description="A box whose status is older is not placed on.")
    lost_after_s: Duration = Field(30.0, description="A box that is silent for so long is lost.")
    reconcile_every_s: Duration = Field(3.0, description="How often wish and fact are compared.")
    scheduler_processes: int = Field(1, ge=1, le=16, description="Schedulers that place side by side.")
    queue_overdue_s: Duration = Field(
        3600.0, description="Who has waited for so long is served before all others."
    )
    fleet_watch_s: Duration = Field(
        1.0, description="How often it is looked which boxes changed, for the schedulers."
    )
    fleet_resync_s: Duration = Field(
        15.0, description="How often a scheduler reads the whole fleet anew, beside what it hears of changes."
    )
    reservation_s: Duration = Field(60.0, description="An unconfirmed reservation expires after this.")
    prepare_s: Duration = Field(900.0, description="Limit from placement to running.")
    redis_timeout_s: Duration = Field(5.0, description="Socket timeout towards Redis.")

    survey_every_s: Duration = Field(
        5.0, gt=0, description="How often the map of boxes is drawn anew, and their lists of peers with it."
    )
    nearness_kept_s: Duration = Field(
        30 * 86400.0, gt=0, description="How long a person's last round trips from a network are remembered."
    )

    copies: int = Field(2, ge=1, le=16, description="How many boxes hold each image, fileset and home.")
    replicate_after_s: Duration = Field(
        60.0, description="A box that is silent for so long does not count as holding anything."
    )
    replicate_retry_s: Duration = Field(
        60.0, description="A copy that has not come within this is asked for again."
    )
    home_copy_every_s: Duration = Field(
        300.0, description="How often the copy of a home is brought up to date."
    )

    simulation_role: str = Field(
        "operator", pattern="^(user|operator|administrator)$", description="Who may let the master simulate."
    )
    simulation_s: Duration = Field(3600.0, gt=0, description="Limit of one simulation on the master.")
    simulation_memory_bytes: Size = Field(
        4 * 2**30, gt=0, description="Address space that a simulation on the master may take."
    )
    simulations_kept: int = Field(50, ge=1, description="So many simulations that are over are kept.")

    home_limit_bytes: Size = Field(2 * 2**30, description="Size limit of a person's home.")
    max_upload_bytes: Size = Field(20 * 2**30, description="Largest fileset that may be put.")

    @model_validator(mode="after")
    def _redis_elsewhere_needs_tls(self) -> Settings:
        from common.redis_client import check_url

        if self.redis_url:
            check_url(self.redis_url)
        return self

    @model_validator(mode="after")
    def _openid_is_whole(self) -> Settings:
        if not self.openid_issuer:
            return self
        from common.addresses import is_loopback

        issuer = urlsplit(self.openid_issuer)
        is_safe = issuer.scheme == "https" or (issuer.scheme == "http" and is_loopback(issuer.hostname or ""))
        if not is_safe or not issuer.hostname:
            raise ValueError("openid_issuer is no https:// address")
        if not self.openid_client_id:
            raise ValueError("openid_issuer needs openid_client_id")
        if not set(self.openid_roles.values()) <= {"user", "operator", "administrator"}:
            raise ValueError("openid_roles gives user, operator or administrator")
        return self

    @property
    def portal_tls(self) -> bool:
        """Whether the portal speaks TLS. Without it only this machine reaches it."""
        from common.addresses import is_loopback

        return self.tls == "internal" or not is_loopback(self.listen)

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.state_dir / 'openraas.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file named by `OPENRAAS_CONFIG`."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if file := os.environ.get(CONFIG_VARIABLE):
            sources.append(TomlConfigSettingsSource(settings_cls, Path(file)))
        return tuple(sources)


def load_settings(**overrides: Any) -> Settings:
    """Settings in force; bad ones raise BadInput that names the field."""
    file = os.environ.get(CONFIG_VARIABLE)
    if file and not Path(file).is_file():
        raise BadInput(
            f"The configuration file {file} does not exist.",
            field=CONFIG_VARIABLE,
            remedy=f"Write it, or unset {CONFIG_VARIABLE}.",
        )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "redis_url"
        raise BadInput(
            f"Setting {field}: {first['msg']}.",
            field=field,
            remedy=f"Set OPENRAAS_{field.upper()} or the key {field} of the configuration file.",
        ) from error
    except ValueError as error:  # a TOML file that cannot be parsed
        raise BadInput(
            f"The configuration file {file} cannot be read: {error}.",
            field=CONFIG_VARIABLE,
            remedy="Correct it; openraas config lists the keys that there are.",
        ) from error


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
