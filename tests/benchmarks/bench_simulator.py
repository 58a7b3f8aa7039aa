"""How fast the simulator is on the plain scenario `nearest-with-room`, beside programs that do the same.

`make bench-simulator`; ARGS="--quality" runs every policy on openraas-paper instead and prints the table that the
documentation shows; ARGS="--clients 100000" makes the largest run smaller. Every size runs in a process of its own,
so that its time and its memory are its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from master.scheduling.policy import load_policy, policy_names
from master.simulation.engine import simulate
from master.simulation.loading import load_scenario
from master.simulation.record import NOBODY
from tests.benchmarks.lines import Case, report
from tests.benchmarks.simulator import by_simpy
from tests.benchmarks.simulator.wishes import Wishes, draw

PLAIN, SEED = "nearest-with-room", 11
COMPARED = 10_000  # clients, with every program
ROUNDS = 3
SIZES = (10_000, 100_000, 1_000_000)
MOST_S, MOST_GB, MOST_GROWTH = 60.0, 2.0, 1.1
# Below this a run's time is made of what does not grow with clients at all.
LEAST_S = 0.05


def main() -> None:
    """Compare, then grow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, metavar=("POLICY", "CLIENTS", "COMPUTE"), help="(run one size)")
    parser.add_argument("--clients", type=int, default=SIZES[-1])
    parser.add_argument("--policies", default="all")
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.one:
        _one(arguments.one[0], int(arguments.one[1]), float(arguments.one[2]))
        return
    names = policy_names() if arguments.policies == "all" else arguments.policies.split(",")
    if arguments.quality:
        from tests.benchmarks.simulator.quality import judge

        sys.exit(report(judge(arguments.seeds, arguments.jobs)))
    cases = [*_beside_others(), *_room_for_all(arguments.clients)]
    for name in names:
        cases += _growth(name, [size for size in SIZES if size <= arguments.clients])
    sys.exit(report(cases))


def _beside_others() -> list[Case]:
    """The same requests, the same answers, and who is quicker."""
    rivals: dict[str, Callable[[Wishes], list[list[int]]]] = {"SimPy": by_simpy.run}
    try:
        from tests.benchmarks.simulator import by_leaf

        rivals["leafsim"] = by_leaf.run
    except ModuleNotFoundError as error:
        print(f"Without leafsim ({error.name} is not installed; pip install leafsim).")
    cases = []
    for compute in (50, 5 * COMPARED // 30):  # room for few, and for nearly all
        scenario = load_scenario(PLAIN, [f"people.count={COMPARED}", f"servers.compute={compute}"])
        wishes = draw(scenario, SEED)
        policy = load_policy("nearest")
        # leafsim keeps tasks in lists that it searches: with thousands on a node that is all it does.
        asked = rivals if compute == 50 else {"SimPy": rivals["SimPy"]}
        times: dict[str, list[float]] = {name: [] for name in ("ours", *asked)}
        for _ in range(ROUNDS):
            began = time.process_time()
            result = simulate(scenario, policy, SEED)
            times["ours"].append(time.process_time() - began)
            ours = [np.where(block.box == NOBODY, NOBODY, block.box - 1).tolist() for block in result.blocks]
            for name, run in asked.items():
                began = time.process_time()
                theirs = run(wishes)
                times[name].append(time.process_time() - began)
                if theirs != ours:
                    raise SystemExit(f"{name} gives other answers than the simulator.")
        for name in asked:
            ratios = [theirs / ours for theirs, ours in zip(times[name], times["ours"], strict=True)]
            label = f"same-answers-{compute}-gf-{name.lower()}"
            must = 1.0 if name == "SimPy" else None
            cases.append(Case(label, float(np.median(ratios)), "x", name, ratios, at_least=must))
    return cases


def _room_for_all(clients: int) -> list[Case]:
    """Where every request finds a place, nothing is saved by knowing that all is full."""
    took_s, peak_gb = _measure("nearest", clients, compute=5 * math.ceil(clients * 1.05 / 30))
    name = f"room-for-all-nearest-{clients}"
    return [
        Case(name, took_s, "s", "limit", [took_s], at_most=MOST_S),
        Case(f"{name}-memory", peak_gb, "GB", "limit", [peak_gb], at_most=MOST_GB),
    ]


def _growth(policy: str, sizes: Sequence[int]) -> list[Case]:
    """Time and memory of the largest size, and the exponent of growth from the smallest to it."""
    found = {size: _measure(policy, size) for size in sizes}
    took_s, peak_gb = found[sizes[-1]]
    cases = [
        Case(f"{policy}-{sizes[-1]}", took_s, "s", "limit", [took_s], at_most=MOST_S),
        Case(f"{policy}-{sizes[-1]}-memory", peak_gb, "GB", "limit", [peak_gb], at_most=MOST_GB),
    ]
    if len(sizes) > 1:
        logs = [(math.log(size), math.log(max(LEAST_S, found[size][0]))) for size in sizes]
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(logs)]
        exponent = float(np.polyfit(*zip(*logs, strict=True), 1)[0])
        cases.append(Case(f"{policy}-growth", exponent, "exponent", "limit", slopes, at_most=MOST_GROWTH))
    return cases


def _measure(policy: str, clients: int, compute: float = 50.0) -> tuple[float, float]:
    """CPU seconds and the peak of memory in GB of one run."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.bench_simulator",
        "--one",
        policy,
        str(clients),
        str(compute),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values = json.loads(done.stdout)
    return values["took_s"], values["peak_gb"]


def _one(policy: str, clients: int, compute: float) -> None:
    scenario = load_scenario(PLAIN, [f"people.count={clients}", f"servers.compute={compute}"])
    chosen = load_policy(policy)
    began = time.process_time()
    simulate(scenario, chosen, SEED)
    took_s = time.process_time() - began
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"took_s": took_s, "peak_gb": peak_gb}))


if __name__ == "__main__":
    main()
