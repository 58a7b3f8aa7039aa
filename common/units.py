"""Amounts as people write them: `512MiB`, `10Mbit`, `90s`, `8h`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_AMOUNT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z/]*)\s*$")

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    name: 2 ** (10 * power)
    for power, names in enumerate((("k", "kib"), ("m", "mib"), ("g", "gib"), ("t", "tib")), 1)
    for name in names
}
_RATES = {"": 1} | {
    prefix + unit: 10 ** (3 * power)
    for power, prefix in enumerate(("", "k", "m", "g"))
    for unit in ("bit", "bit/s")
}
_TIMES = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _parse(value: object, units: dict[str, float], example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected an amount such as {example}")
    match = _AMOUNT.match(str(value))
    if not match or match[2].lower() not in units:
        raise ValueError(f"{value!r} is not an amount; write it like {example}")
    return float(match[1]) * units[match[2].lower()]


def parse_size(value: object) -> int:
    """Bytes of `512MiB`, `20 GB` or a plain number. Raises ValueError."""
    return round(_parse(value, dict(_SIZES), "512MiB or 20GB"))


def parse_rate(value: object) -> int:
    """Bits per second of `100Mbit`, `1Gbit/s` or a plain number. Raises ValueError."""
    return round(_parse(value, dict(_RATES), "100Mbit"))


def parse_duration(value: object) -> float:
    """Seconds of `90s`, `8h`, `1d` or a plain number. Raises ValueError."""
    return _parse(value, _TIMES, "90s or 8h")


def show_size(size_bytes: float) -> str:
    """A size for people, in binary units: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def show_rate(rate_bps: float) -> str:
    """A rate for people: `94 Mbit/s`."""
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate_bps < 1000:
            return f"{rate_bps:.0f} {unit}"
        rate_bps /= 1000
    return f"{rate_bps:.1f} Gbit/s"


Size = Annotated[int, BeforeValidator(parse_size)]
Rate = Annotated[int, BeforeValidator(parse_rate)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
