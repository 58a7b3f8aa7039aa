"""Options of an application: what a person may choose, and whether a choice is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic_core import SchemaError

from common.errors import BadInput
from common.words import Frozen

OPTION_NAME = r"^[a-z][a-z0-9_]{0,39}$"
DEFAULT_MAXIMUM_LENGTH = 1000

OptionName = Annotated[str, StringConstraints(pattern=OPTION_NAME)]
OptionValue = str | int | float | bool

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class OptionType(StrEnum):
    """What sort of value an option takes."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    SECRET = "secret"  # noqa: S105 - the name of a type


_TEXTUAL = (OptionType.TEXT, OptionType.SECRET)
_NUMERIC = (OptionType.INTEGER, OptionType.NUMBER)
# Which keys say something only about some types; elsewhere they would be a silent mistake.
_MEANINGFUL: dict[str, tuple[OptionType, ...]] = {
    "minimum": _NUMERIC,
    "maximum": _NUMERIC,
    "maximum_length": _TEXTUAL,
    "pattern": _TEXTUAL,
    "choices": (OptionType.CHOICE,),
}


class BadOptions(BadInput):
    """Values that the manifest does not allow; `problems` has a sentence for each option concerned."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        first = next(iter(problems))
        text = " ".join(f"Option {name}: {problem}" for name, problem in problems.items())
        super().__init__(text, field=f"options.{first}")
        self.problems = dict(problems)


class Option(Frozen):
    """One thing that a person chooses when starting an application; becomes a field of the form."""

    name: OptionName
    title: str = Field("", max_length=80, description="Label of the field; empty: the name.")
    help: str = Field("", max_length=500, description="A sentence below the field.")
    group: str = Field(
        "", max_length=60, description="The form shows options of one group together, below it."
    )
    type: OptionType = OptionType.TEXT
    default: OptionValue | None = None
    minimum: float | None = Field(None, description="Smallest integer or number.")
    maximum: float | None = Field(None, description="Largest integer or number.")
    maximum_length: int | None = Field(None, ge=1, le=20_000, description="Most characters of a text.")
    pattern: str | None = Field(
        None, max_length=500, description="Regular expression (Rust's dialect) that the whole text matches."
    )
    choices: list[str] | None = Field(None, min_length=1, max_length=100)
    required: bool = False

    @property
    def label(self) -> str:
        """What people call it."""
        return self.title or self.name.replace("_", " ").capitalize()

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        for key, types in _MEANINGFUL.items():
            if getattr(self, key) is not None and self.type not in types:
                raise ValueError(f"{key} means nothing for the type {self.type.value}")
        if self.type is OptionType.CHOICE and not self.choices:
            raise ValueError("a choice needs the key choices")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is larger than maximum")
        if self.pattern is not None:
            _matcher(self.pattern)
        if self.default is not None:
            if self.type is OptionType.SECRET:
                raise ValueError("default: a secret has none, since everybody could read it")
            try:
                self.read(self.default)
            except ValueError as error:
                raise ValueError(f"default: {error}") from error
        return self

    def read(self, value: object) -> OptionValue:
        """`value` as this option's type; forms and the command line give texts. Raises ValueError."""
        match self.type:
            case OptionType.TEXT | OptionType.SECRET:
                return self._read_text(value)
            case OptionType.INTEGER | OptionType.NUMBER:
                return self._read_number(value)
            case OptionType.BOOLEAN:
                return _read_boolean(value)
            case OptionType.CHOICE:
                if value not in (self.choices or []):
                    raise ValueError(f"choose one of {', '.join(self.choices or [])}.")
                return str(value)

    def _read_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("expected a text.")
        limit = self.maximum_length or DEFAULT_MAXIMUM_LENGTH
        if len(value) > limit:
            raise ValueError(f"at most {limit} characters.")
        if "\0" in value:
            raise ValueError("a zero byte cannot be part of it.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("half a character (a lone surrogate) cannot be part of it.")
        if self.pattern is not None:
            try:
                _matcher(self.pattern).validate_python(value)
            except ValidationError as error:
                raise ValueError(f"does not have the form {self.pattern}") from error
        return value

    def _read_number(self, value: object) -> int | float:
        whole = self.type is OptionType.INTEGER
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"expected {kind}.")
        if isinstance(value, str) and len(value) > 40:
            raise ValueError(f"expected {kind}.")
        try:
            number = float(value)
            result: int | float = int(str(value).strip()) if whole and isinstance(value, str) else number
        except (ValueError, OverflowError) as error:
            raise ValueError(f"expected {kind}.") from error
        if not math.isfinite(number) or (whole and number != int(number)):
            raise ValueError(f"expected {kind}.")
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"at least {self.minimum:g}.")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"at most {self.maximum:g}.")
        return int(result) if whole else number


def _read_boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError("expected true or false.")


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> TypeAdapter[str]:
    # pydantic-core's Rust expressions take linear time, whatever the pattern; Python's may take for ever.
    try:
        adapter: TypeAdapter[str] = TypeAdapter(Annotated[str, StringConstraints(pattern=f"^(?:{pattern})$")])
    except SchemaError as error:
        raise ValueError(f"pattern: {pattern!r} is not a regular expression") from error
    return adapter


def check(
    options: Sequence[Option], given: Mapping[str, object]
) -> tuple[dict[str, OptionValue], dict[str, str]]:
    """The values in force, plain ones and secret ones apart; raises BadOptions that names each wrong one.

    A value that is missing or empty takes the default; an option without one is then left out.
    """
    known = {option.name for option in options}
    problems = {
        str(name): f"this application has no such option; it has {', '.join(sorted(known)) or 'none'}."
        for name in given
        if name not in known
    }
    plain: dict[str, OptionValue] = {}
    secret: dict[str, str] = {}
    for option in options:
        value = given.get(option.name)
        if value is None or value == "":
            value = option.default
        if value is None:
            if option.required:
                problems[option.name] = "a value is needed."
            continue
        try:
            read = option.read(value)
        except ValueError as error:
            problems[option.name] = str(error)
            continue
        if option.type is OptionType.SECRET:
            secret[option.name] = str(read)
        else:
            plain[option.name] = read
    if problems:
        raise BadOptions(problems)
    return plain, secret
