"""One sample of a box, how several become one, and how they travel through Redis. Pure."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from common.status import BoxStatus

_FORM = struct.Struct("<I9f")
# Four bytes hold no larger number; what a box says of itself may be any.
_LARGEST = 3e38


@dataclass(frozen=True)
class Sample:
    """A box over a while that began at `at` (Unix time). The fields are those of `BoxSample`."""

    at: int
    cpu: float
    memory_bytes: float
    disk_bytes: float
    in_bps: float
    out_bps: float
    temperature_c: float | None
    held_cpu: float
    lent: float
    up: float = 1.0


def sample_of(status: BoxStatus, at: int, *, cordoned: bool) -> Sample:
    """What a status record says. A box that does not tell of its whole machine yet counts by its load."""
    machine = status.machine
    return Sample(
        at=at,
        cpu=machine.cpu if machine else min(1.0, status.load),
        memory_bytes=float(machine.memory_bytes if machine else status.used.memory_bytes),
        disk_bytes=float(status.disk.lent_bytes - status.disk.raw_free_bytes),
        in_bps=machine.in_bps if machine else 0.0,
        out_bps=machine.out_bps if machine else 0.0,
        temperature_c=status.temperature_c,
        held_cpu=status.used.cpu,
        lent=float(status.open and not status.paused and not cordoned),
    )


def mean(samples: Sequence[Sample], at: int, *, expected: float) -> Sample:
    """Several as one; `expected` is how many there would be of a box that was up all the time."""
    count = len(samples)
    warm = [item.temperature_c for item in samples if item.temperature_c is not None]

    def average(name: str) -> float:
        return float(sum(getattr(item, name) for item in samples) / count)

    return Sample(
        at=at,
        cpu=average("cpu"),
        memory_bytes=average("memory_bytes"),
        disk_bytes=average("disk_bytes"),
        in_bps=average("in_bps"),
        out_bps=average("out_bps"),
        temperature_c=sum(warm) / len(warm) if warm else None,
        held_cpu=average("held_cpu"),
        lent=min(1.0, sum(item.lent for item in samples) / expected),
        up=min(1.0, sum(item.up for item in samples) / expected),
    )


def thin(samples: Sequence[Sample], most: int) -> list[Sample]:
    """No more than `most`, by taking neighbours together."""
    if len(samples) <= most:
        return list(samples)
    step = math.ceil(len(samples) / most)
    groups = [samples[begin : begin + step] for begin in range(0, len(samples), step)]
    return [mean(group, group[0].at, expected=len(group)) for group in groups]


def pack(sample: Sample) -> str:
    """54 characters; a thousand boxes with an hour each take about 25 MB."""
    warm = math.nan if sample.temperature_c is None else sample.temperature_c
    numbers = (
        sample.cpu,
        sample.memory_bytes,
        sample.disk_bytes,
        sample.in_bps,
        sample.out_bps,
        warm,
        sample.held_cpu,
        sample.lent,
        sample.up,
    )
    # In this order of arguments what is no number stays none.
    held = (max(min(number, _LARGEST), -_LARGEST) for number in numbers)
    return base64.b64encode(_FORM.pack(sample.at, *held)).decode()


def unpack(text: str) -> Sample:
    """The sample in what `pack` made; raises ValueError for anything else."""
    try:
        at, cpu, memory, disk, came, went, warm, held, lent, up = _FORM.unpack(base64.b64decode(text))
    except struct.error as error:
        raise ValueError("no sample") from error
    return Sample(at, cpu, memory, disk, came, went, None if math.isnan(warm) else warm, held, lent, up)
