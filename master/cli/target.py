"""Which master the command line speaks to, with which token, trusting whom.

In this order: `OPENRAAS_SERVER` and `OPENRAAS_TOKEN`; what `openraas login` kept; the operator's own token on
the master's machine.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pydantic import Field, ValidationError

from common.addresses import MasterAddress, from_here
from common.errors import BadInput, Unauthorized
from common.files import read_secret, write_secret
from common.settings import settings
from common.words import Frozen
from master.paths import MasterPaths

SERVER_VARIABLE = "OPENRAAS_SERVER"
TOKEN_VARIABLE = "OPENRAAS_TOKEN"  # noqa: S105 - the name of a variable


class Target(Frozen):
    """A master and how to reach it."""

    server: str = Field(description="http(s)://host:port without a path.")
    token: str
    authority: str = Field("", description="The installation's own certificate authority, PEM.")
    public: bool = Field(False, description="Whether public authorities are trusted beside it.")

    def tls(self) -> ssl.SSLContext:
        """Trusts the installation's own authority; public ones only if the master has such a certificate."""
        if self.authority and not self.public:
            return ssl.create_default_context(cadata=self.authority)
        context = ssl.create_default_context()
        if self.authority:
            context.load_verify_locations(cadata=self.authority)
        return context


def file() -> Path:
    """Where `openraas login` keeps what it learnt (0600)."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "openraas" / "login.json"


def save(target: Target) -> None:
    """Keep it for later calls, so that only this person reads it."""
    write_secret(file(), target.model_dump_json())


def find() -> Target:
    """The master in force; raises Unauthorized if nobody is signed in, BadInput for a bad address or file."""
    base = _stored() or _local()
    server = os.environ.get(SERVER_VARIABLE)
    token = os.environ.get(TOKEN_VARIABLE)
    if server:
        address = MasterAddress.parse(server, field=SERVER_VARIABLE).url
        if base is None or base.server != address:
            base = Target(server=address, token=token or "", public=True)
    if base is not None and token:
        base = base.model_copy(update={"token": token})
    if base is None or not base.token:
        raise Unauthorized(
            "You are not signed in to a master.",
            remedy=f"Run: openraas login URL, or set {SERVER_VARIABLE} and {TOKEN_VARIABLE}.",
        )
    return base


def _stored() -> Target | None:
    path = file()
    if not path.is_file():
        return None
    try:
        return Target.model_validate_json(read_secret(path))
    except ValidationError as error:
        raise BadInput(f"{path} cannot be read.", remedy="Run openraas login again.") from error


def _local() -> Target | None:
    """The operator on the master's own machine."""
    paths = MasterPaths(settings().state_dir)
    if not os.access(paths.cli_token, os.R_OK):
        return None
    return Target(
        server=paths.portal_url.read_text().strip() if paths.portal_url.exists() else _configured(),
        token=read_secret(paths.cli_token),
        authority=paths.authority.read_text() if paths.authority.is_file() else "",
    )


def _configured() -> str:
    """Where the portal answers by the settings of this shell, if `openraas up` never ran here."""
    conf = settings()
    return MasterAddress(from_here(conf.listen), conf.web_port, tls=conf.portal_tls).url
