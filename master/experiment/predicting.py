"""What the simulator says of the starts of a scenario, request by request."""

from __future__ import annotations

import numpy as np

from master.experiment.measuring import Start
from master.scheduling.policy import load_policy
from master.simulation.engine import simulate
from master.simulation.record import NOBODY, Outcome
from master.simulation.scenario import Scenario


def predict(scenario: Scenario, seed: int) -> list[Start | None]:
    """The starts in the order in which they were asked for; none where one does not start."""
    result = simulate(scenario, load_policy(scenario.lab.policy), seed)
    names = list(scenario.boxes)
    tasks = list(scenario.tasks)
    found: list[Start | None] = []
    for block in result.blocks:
        for at in range(len(block)):
            if block.outcome[at] != Outcome.STARTED or block.box[at] == NOBODY:
                found.append(None)
                continue
            application = result.world.applications[block.application[at]]
            steps = np.nan_to_num(block.steps_s[at])
            found.append(
                Start(
                    task=tasks[application.task],
                    asked_s=float(block.asked_at[at]),
                    box=names[int(block.box[at]) - 1],
                    steps_s=tuple(float(step) for step in steps),
                )
            )
    return found
