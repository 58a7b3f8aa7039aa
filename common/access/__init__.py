"""The ways in which a person uses an instance: each is one module here, and `WAYS` is their table.

Another package adds one by an entry point in the group `openraas.access` that names its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from common.access.desktop import Desktop
from common.access.job import Job
from common.access.terminal import Terminal
from common.access.way import HANDED, OWN, Way
from common.access.web import Web

__all__ = ["GROUP", "HANDED", "OWN", "TERMINAL", "WAYS", "WEB", "Access", "Way", "read_access", "ways"]

GROUP = "openraas.access"
WAYS: tuple[type[Way], ...] = (Web, Terminal, Desktop, Job)
WEB = Web()
# The owner may open one in every instance, whatever its way is.
TERMINAL = Terminal()


@cache
def ways() -> Mapping[str, type[Way]]:
    """Every way by name: those of the table, and those of other packages."""
    found = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    return found | {_name(kind): kind for kind in WAYS}


def _name(kind: type[Way]) -> str:
    return str(kind.model_fields["way"].default)


def read_access(value: object) -> object:
    """A way from its name, or from a mapping with its name as `way` and its options beside it.

    Raises ValueError for a way that nobody knows.
    """
    if isinstance(value, Way):
        return value
    options: Mapping[str, Any] = value if isinstance(value, Mapping) else {"way": value}
    kind = ways().get(str(options.get("way")))
    if kind is None:
        raise ValueError(f"the way of access is one of {', '.join(sorted(ways()))}")
    return kind.model_validate(options)


def _schema() -> dict[str, Any]:
    """The schema of both spellings."""
    return {
        "anyOf": [
            {"type": "string", "enum": sorted(_name(kind) for kind in WAYS)},
            *(kind.model_json_schema() for kind in WAYS),
        ],
        "default": "web",
    }


Access = Annotated[SerializeAsAny[Way], BeforeValidator(read_access), WithJsonSchema(_schema())]
