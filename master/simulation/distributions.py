"""Amounts that a scenario draws: a plain figure, a truncated normal distribution, or evenly between whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic.functional_validators import BeforeValidator

from common.units import parse_duration, parse_rate, parse_size

_BISECTIONS = 60
_SQRT_2 = math.sqrt(2.0)


class Distribution(BaseModel):
    """What is drawn: normal around `mean` with deviation `sd`, never below `min`; `sd` 0 is the figure itself.

    `mean` is the mean of what comes out, after the part below `min` was cut off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: float = Field(ge=0)
    sd: float = Field(0.0, ge=0)
    min: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _is_possible(self) -> Distribution:
        if self.sd == 0 and self.mean < self.min:
            raise ValueError("the mean is below min")
        if self.sd > 0 and self.mean <= self.min:
            raise ValueError("the mean of what is never below min is above min")
        return self

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """`count` values."""
        if self.sd == 0:
            return np.full(count, self.mean)
        centre = self._centre()
        values = rng.normal(centre, self.sd, count)
        while (low := np.flatnonzero(values < self.min)).size:
            values[low] = rng.normal(centre, self.sd, low.size)
        return values

    def _centre(self) -> float:
        """Where the normal distribution has to stand for its part above `min` to have the mean."""
        low, high = self.mean - 10 * self.sd, self.mean
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if _mean_above(self.min, middle, self.sd) < self.mean:
                low = middle
            else:
                high = middle
        return (low + high) / 2


def _mean_above(least: float, centre: float, sd: float) -> float:
    """The mean of a normal distribution cut off below `least` (inverse Mills ratio)."""
    edge = (least - centre) / sd
    above = 0.5 * math.erfc(edge / _SQRT_2)
    if above <= 0.0:
        return least
    return centre + sd * math.exp(-edge * edge / 2) / math.sqrt(2 * math.pi) / above


def _reads(parse: Callable[[object], float]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: parse(item) for key, item in value.items()}
        if isinstance(value, Distribution):
            return value
        return {"mean": parse(value)}

    return read


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number, or mean, sd and min")
    return float(value)


_SCHEMA = WithJsonSchema({"description": "A figure, or mean, sd and min."})
Amount = Annotated[Distribution, BeforeValidator(_reads(_number)), _SCHEMA]
SizeAmount = Annotated[Distribution, BeforeValidator(_reads(parse_size)), _SCHEMA]
RateAmount = Annotated[Distribution, BeforeValidator(_reads(parse_rate)), _SCHEMA]
TimeAmount = Annotated[Distribution, BeforeValidator(_reads(parse_duration)), _SCHEMA]


class Range(BaseModel):
    """A whole number, each from `least` to `most` equally likely."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: int = Field(ge=0)
    most: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_possible(self) -> Range:
        if self.most < self.least:
            raise ValueError("most is below least")
        return self

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """`count` values."""
        return rng.integers(self.least, self.most + 1, count)


def _range(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"least": value, "most": value}
    return value


def _show_range(value: Range) -> Any:
    return value.least if value.least == value.most else {"least": value.least, "most": value.most}


WholeRange = Annotated[Range, BeforeValidator(_range), PlainSerializer(_show_range)]
