"""Predicted against measured, step by step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from master.experiment.measuring import Start
from master.simulation.record import STEPS

START = "start"
FIELDS = (
    "scenario",
    "request",
    "task",
    "asked_s",
    "box",
    "predicted_box",
    "step",
    "predicted_s",
    "measured_s",
)


@dataclass(frozen=True)
class Step:
    """A step on average over all starts, in seconds. `start` is all steps together."""

    name: str
    predicted_s: float
    measured_s: float

    @property
    def off(self) -> float:
        """By how much the prediction is too long (or, negative, too short), as a share of what was measured."""
        return (self.predicted_s - self.measured_s) / self.measured_s if self.measured_s else 0.0


@dataclass(frozen=True)
class Comparison:
    """The starts of one scenario in both worlds, request by request."""

    scenario: str
    title: str
    predicted: Sequence[Start | None]
    measured: Sequence[Start]

    @property
    def pairs(self) -> list[tuple[Start, Start]]:
        """Predicted and measured, of the requests that start in both worlds."""
        both = zip(self.predicted, self.measured, strict=True)
        return [(said, was) for said, was in both if said is not None]

    @property
    def steps(self) -> list[Step]:
        """Every step on average, and then the whole start."""
        pairs = self.pairs
        count = max(1, len(pairs))

        def mean(which: int, at: int) -> float:
            return sum(pair[which].steps_s[at] for pair in pairs) / count

        found = [Step(name, mean(0, at), mean(1, at)) for at, name in enumerate(STEPS)]
        whole = [sum(pair[which].start_s for pair in pairs) / count for which in (0, 1)]
        return [*found, Step(START, whole[0], whole[1])]

    @property
    def start(self) -> Step:
        """The mean start."""
        return self.steps[-1]

    def rows(self) -> Iterator[tuple[str, int, str, float, str, str, str, float | None, float]]:
        """Every step of every request, in the order of FIELDS."""
        for number, (said, was) in enumerate(zip(self.predicted, self.measured, strict=True)):
            about = (
                self.scenario,
                number,
                was.task,
                round(was.asked_s, 3),
                was.box,
                said.box if said else "",
            )
            for at, name in enumerate(STEPS):
                yield *about, name, said.steps_s[at] if said else None, was.steps_s[at]
            yield *about, START, said.start_s if said else None, was.start_s
