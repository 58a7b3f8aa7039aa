"""Scenarios from YAML files: what is wrong with one is told with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import ValidationError

from common.errors import BadInput
from master.simulation.scenario import Scenario

BASE = "base"
# Aliases make a few lines of YAML into more than fits anywhere.
MOST_VALUES = 50_000
_SHIPPED = files("master.simulation") / "scenarios"
_MAPPING, _MERGE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:merge"

# What a part says about a key below it: "servers.count: there is no box".
_NAMED = re.compile(r"^([a-z][\w.-]*): (.+)$")
Keys = tuple[str | int, ...]


@dataclass
class _Text:
    """Values of a file and where each of them stands."""

    values: dict[str, Any]
    places: dict[Keys, str] = field(default_factory=dict)

    def place(self, path: Keys) -> str:
        """File and line of the nearest thing around `path`."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.places[()]


def shipped() -> list[str]:
    """The names of the scenarios that come with OpenRaaS."""
    return sorted(
        item.name.removesuffix(".yaml") for item in _SHIPPED.iterdir() if item.name.endswith(".yaml")
    )


class _Files(Protocol):
    """Where a scenario's base and its trace are looked for."""

    def read(self, name: str) -> tuple[str, str, _Files]:
        """A scenario by its name: how it is shown, its text, and where what it names lies."""

    def trace(self, name: str) -> str:
        """The path of a trace's file."""


class _Folder:
    """Files beside a scenario, and the scenarios that come along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> tuple[str, str, _Files]:
        """See _Files. Raises BadInput."""
        path = self._folder / name
        if path.suffix not in (".yaml", ".yml") and name in shipped():
            path = Path(str(_SHIPPED / f"{name}.yaml"))
        try:
            return str(path), path.read_text(encoding="utf-8"), _Folder(path.parent)
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"The scenario {name} cannot be read: {error}.",
                field="scenario",
                remedy=f"Give a file, or one of: {', '.join(shipped())}.",
            ) from error

    def trace(self, name: str) -> str:
        """See _Files."""
        return str(self._folder / name)


class _Sent:
    """What came along with a scenario that somebody sent: nobody reads other files of the master that way."""

    def __init__(self, trace: Path | None) -> None:
        self._trace = trace

    def read(self, name: str) -> tuple[str, str, _Files]:
        """See _Files. Raises BadInput for all but the scenarios that come along."""
        if name not in shipped():
            raise BadInput(
                f"There is no scenario {name} here to be based on.",
                field=BASE,
                remedy=f"Take one of: {', '.join(shipped())}.",
            )
        return _Folder(Path()).read(name)

    def trace(self, name: str) -> str:  # noqa: ARG002 - whatever it is called where it comes from
        """See _Files. Raises BadInput if none came along."""
        if self._trace is None:
            raise BadInput(
                "The scenario replays a trace, which did not come along.",
                field="trace",
                remedy="Send the file of the trace too.",
            )
        return str(self._trace)


def load_scenario(name: str, settings: Iterable[str] = (), *, over: str | None = None) -> Scenario:
    """A shipped scenario by its name or one by its file; `settings` are `key.of.it=value` and win.

    `over` is a file whose keys replace those of the scenario. Raises BadInput with file, line and key.
    """
    text = _read(name, _Folder(Path.cwd()), ())
    if over is not None:
        above = _read(over, _Folder(Path.cwd()), ())
        _lay_over(text.values, above.values)
        text.places.update(above.places)
    return _build(text, settings)


def place_of(name: str, key: str) -> str:
    """File and line of a key of a scenario, or of what is nearest around it; raises BadInput."""
    return _read(name, _Folder(Path.cwd()), ()).place(tuple(key.split(".")))


def parse_scenario(content: str, settings: Iterable[str] = (), *, trace: Path | None = None) -> Scenario:
    """A scenario that somebody sent, with the file of its trace; it may be based on shipped ones only.

    Raises BadInput with line and key.
    """
    scenario = _build(_compose(content, "scenario.yaml", _Sent(trace), ()), settings)
    if scenario.trace is not None and (trace is None or scenario.trace.file != str(trace)):
        raise BadInput("trace.file is what was sent along, and cannot be set.", field="trace.file")
    return scenario


def _build(text: _Text, settings: Iterable[str]) -> Scenario:
    for setting in settings:
        _set(text, setting)
    try:
        return Scenario.model_validate(text.values)
    except ValidationError as error:
        raise _explain(error, text) from error


def _read(name: str, files: _Files, above: tuple[str, ...]) -> _Text:
    shown, content, beside = files.read(name)
    if shown in above:
        raise BadInput(
            f"Scenarios are based on each other in a circle: {' → '.join((*above, shown))}.",
            field=BASE,
            remedy=f"Take the key {BASE} out of one of them.",
        )
    return _compose(content, shown, beside, above)


def _compose(content: str, shown: str, files: _Files, above: tuple[str, ...]) -> _Text:
    """The values of a scenario, laid over those of what it is based on."""
    text = _parse(content, shown)
    trace = text.values.get("trace")
    if isinstance(trace, dict) and isinstance(trace.get("file"), str):
        trace["file"] = files.trace(trace["file"])
    base = text.values.pop(BASE, None)
    if base is None:
        return text
    if not isinstance(base, str):
        raise BadInput(f"{text.place((BASE,))}: {BASE} is not the name of a scenario.", field=BASE)
    below = _read(base, files, (*above, shown))
    _lay_over(below.values, text.values)
    below.places.update(text.places)
    return below


def _parse(content: str, shown: str) -> _Text:
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        text = _Text({}, {(): f"{shown}, line 1"})
        values = _value(node, (), shown, text.places, frozenset()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{shown}, line {line}: this is not YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{shown}: this is not YAML: {error}.") from error
    except RecursionError as error:
        raise BadInput(f"{shown}: this is nested too deep.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{shown}, line 1: a scenario is a mapping of keys to values.")
    text.values = values
    return text


def _value(node: yaml.Node, path: Keys, shown: str, places: dict[Keys, str], inside: frozenset[int]) -> Any:
    here = f"{shown}, line {node.start_mark.line + 1}"
    if id(node) in inside:
        place = places.get(path, here)
        raise BadInput(f"{place}: {_dotted(path)} contains itself.", field=_dotted(path))
    if len(places) >= MOST_VALUES:
        raise BadInput(f"{here}: it has more than {MOST_VALUES} values.", field="scenario")
    places.setdefault(path, here)
    within = inside | {id(node)}
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            name, line = str(key.value), f"{shown}, line {key.start_mark.line + 1}"
            below = (*path, name)
            if key.tag == _MERGE:
                raise BadInput(f"{line}: merge keys are not taken; use {BASE}.", field=_dotted(below))
            if name in found:
                raise BadInput(f"{line}: {_dotted(below)} is there twice.", field=_dotted(below))
            places[below] = line
            found[name] = _value(value, below, shown, places, within)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, row), shown, places, within) for row, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = value


def _set(text: _Text, setting: str) -> None:
    key, sign, value = setting.partition("=")
    path = tuple(key.split("."))
    if not sign or not all(path):
        raise BadInput(f"{setting!r} sets nothing.", field="set", remedy="Write it like people.count=100.")
    place = text.values
    for name in path[:-1]:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadInput(f"--set {setting}: {name} is a value and has no keys below it.", field=key)
        place = inner
    try:
        place[path[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadInput(f"--set {setting}: {value!r} is not a value.", field=key) from error
    text.places[path] = f"--set {setting}"


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(item) for item in path) or "the scenario"


def _explain(error: ValidationError, text: _Text) -> BadInput:
    """All mistakes of a scenario, one a line."""
    told, first = [], ""
    for item in error.errors():
        path: Keys = tuple(item["loc"])
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such key"
        elif (named := _NAMED.match(message)) is not None:
            path, message = (*path, *named[1].split(".")), named[2]
        first = first or _dotted(path)
        told.append(f"{text.place(path)}: {_dotted(path)}: {message}")
    return BadInput("; ".join(dict.fromkeys(told)) + ".", field=first)
