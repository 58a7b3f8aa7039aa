"""systemd units for the platform and for a box (systemd.unit(5), systemd.service(5))."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.errors import Unavailable
from common.files import write_atomically
from common.settings import CONFIG_VARIABLE, Settings
from common.supervision import openraas

UNITS = Path("/etc/systemd/system")
SYSTEMCTL_S = 30.0

# KillMode=process: only our own supervisor is asked to end, and ends its programs in order. The mounts of
# instances have processes in the same control group, which must outlive a restart as their containers do.
_TEMPLATE = """[Unit]
Description={description}
After=network-online.target docker.service
Wants=network-online.target

[Service]
Type=exec
ExecStart={command}
{environment}Restart=always
RestartSec=2
KillMode=process
TimeoutStopSec=150
LimitNOFILE=65536
Delegate=yes

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Unit:
    """A unit file."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        """Where systemd looks for it."""
        return UNITS / self.name


def platform_unit(settings: Settings) -> Unit:
    """The platform: `openraas up --leave-running`, so that a restart does not end what people run."""
    variables = {"OPENRAAS_STATE_DIR": str(settings.state_dir)}
    if file := os.environ.get(CONFIG_VARIABLE):
        variables[CONFIG_VARIABLE] = str(Path(file).resolve())
    return _unit("openraas.service", "OpenRaaS", ("up", "--leave-running"), variables)


def box_unit(state_dir: Path | None) -> Unit:
    """A box that has joined a master elsewhere."""
    options = ("--state-dir", str(state_dir)) if state_dir else ()
    return _unit("openraas-box.service", "OpenRaaS box", ("box", "run", *options), {})


def _unit(name: str, description: str, arguments: tuple[str, ...], variables: dict[str, str]) -> Unit:
    environment = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in variables.items())
    command = " ".join(_quoted(word) for word in openraas(*arguments))
    return Unit(
        name,
        _TEMPLATE.format(description=description, command=command, environment=environment),
    )


def _quoted(word: str) -> str:
    """A word for a unit file, where `%` and `$` mean something (systemd.service(5), "Command lines")."""
    word = word.replace("%", "%%").replace("$", "$$")
    if not any(character in word for character in " \t\"'\\;"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def install(unit: Unit) -> None:
    """Write the unit and let it start at boot. Raises Unavailable where that cannot be done."""
    if os.geteuid() != 0:
        raise Unavailable("Installing a service needs root.", remedy="Run it with sudo, or use --print.")
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        raise Unavailable(
            "This machine was not started by systemd.",
            remedy=f"Use --print, and start this at boot: {' '.join((sys.executable, '-m', 'common', 'up'))}",
        )
    write_atomically(unit.path, unit.text)
    for arguments in (("daemon-reload",), ("enable", unit.name)):
        done = subprocess.run(
            (systemctl, *arguments), capture_output=True, text=True, timeout=SYSTEMCTL_S, check=False
        )
        if done.returncode:
            raise Unavailable(
                f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()}",
                remedy="Is this machine run by systemd? See: systemctl status.",
            )
