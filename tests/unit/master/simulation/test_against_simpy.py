"""The plain scenario, decided by an independent program: request by request the same."""

from __future__ import annotations

import numpy as np
import pytest

from master.simulation.loading import load_scenario
from master.simulation.record import NOBODY
from tests.benchmarks.simulator.wishes import draw
from tests.support.simulation import run


@pytest.mark.parametrize("compute", [10, 40])
def test_the_simulator_and_a_simpy_program_give_the_same_answers(compute: int) -> None:
    by_simpy = pytest.importorskip("tests.benchmarks.simulator.by_simpy", exc_type=ModuleNotFoundError)
    scenario = load_scenario("nearest-with-room", ["people.count=250", f"servers.compute={compute}"])
    ours = [
        np.where(block.box == NOBODY, NOBODY, block.box - 1).tolist()
        for block in run(scenario, seed=5).blocks
    ]
    assert by_simpy.run(draw(scenario, 5)) == ours
