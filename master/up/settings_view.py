"""What `openraas config` prints: every setting in force, and where it came from."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console
from rich.table import Table

from common.cli import print_json
from common.settings import CONFIG_VARIABLE, Settings

HIDDEN = "…"


@dataclass(frozen=True)
class Row:
    """One setting."""

    name: str
    value: object
    source: str
    description: str


def rows(settings: Settings) -> list[Row]:
    """All settings, secrets hidden. The source is the environment, the configuration file or the default."""
    file = os.environ.get(CONFIG_VARIABLE)
    in_file = set(tomllib.loads(Path(file).read_text())) if file else set()
    values = settings.model_dump(mode="json")
    made = []
    for name, field in Settings.model_fields.items():
        variable = f"OPENRAAS_{name.upper()}"
        source = "default"
        if any(key.upper() == variable for key in os.environ):
            source = variable
        elif name in in_file:
            source = str(file)
        made.append(Row(name, _without_secrets(name, values[name]), source, field.description or ""))
    return made


def _without_secrets(name: str, value: object) -> object:
    if not name.endswith("_url") or not isinstance(value, str) or not value:
        return value
    parts = urlsplit(value)
    if parts.password is None:
        return value
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{HIDDEN}@{host}"))


def show(found: list[Row], *, as_json: bool) -> None:
    """Print the settings."""
    if as_json:
        print_json([asdict(row) for row in found])
        return
    table = Table("Setting", "Value", "From", "What it is", box=None, pad_edge=False)
    for row in found:
        value = "" if row.value is None else str(row.value)
        table.add_row(row.name, value, row.source, row.description)
    Console().print(table)
