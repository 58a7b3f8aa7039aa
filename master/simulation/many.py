"""Many runs: every policy with every seed, one after the other or several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from master.scheduling.policy import load_policy
from master.simulation.engine import simulate
from master.simulation.scenario import Scenario
from master.simulation.streams import streams
from master.simulation.summary import Runs, figures
from master.simulation.world import KINDS, make_world


def run_all(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Runs:
    """Run each policy with each seed. The figures do not depend on `jobs`.

    `progress` is told how many steps are done, and of how many; without it a terminal shows a bar.
    """
    tasks = [(policy, seed) for policy in policies for seed in seeds]
    found: dict[tuple[str, int], dict[str, float]] = {}
    # How many slots a trace makes is known only once it is read: there a run is one step.
    slots, by_slot = (1, False) if scenario.trace is not None else (scenario.slots.count, True)
    with _steps(scenario.name, len(tasks) * slots, progress) as advance:
        if jobs == 1:
            for policy, seed in tasks:
                each = (lambda _: advance(1)) if by_slot else None
                found[policy, seed] = _run(scenario, policy, seed, each)
                if not by_slot:
                    advance(1)
        else:
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                coming = {pool.submit(_run, scenario, *task): task for task in tasks}
                for future in as_completed(coming):
                    found[coming[future]] = future.result()
                    advance(slots)
    by_policy = {policy: [found[policy, seed] for seed in seeds] for policy in policies}
    return Runs(scenario.name, tuple(seeds), by_policy, made(scenario, seeds[0]))


def made(scenario: Scenario, seed: int) -> dict[str, int]:
    """How many of each thing a scenario makes; the same for every seed."""
    world = make_world(scenario, streams(seed))
    counts = {
        f"{kind}s" if kind not in ("iot", "mobile") else kind: world.boxes.count(kind) for kind in KINDS[1:]
    }
    counts |= {"areas": scenario.network.areas, "applications": len(world.applications)}
    counts |= {"layers": len(world.layers), "slots": scenario.slots.count}
    return {name: count for name, count in counts.items() if count}


def _run(
    scenario: Scenario, policy: str, seed: int, progress: Callable[[int], None] | None = None
) -> dict[str, float]:
    return figures(simulate(scenario, load_policy(policy), seed, progress=progress))


@contextmanager
def _steps(
    label: str, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Callable[[int], None]]:
    """Counts steps for whoever wants to know."""
    if progress is None:
        with _bar(label, total) as advance:
            yield advance
        return
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, total)

    yield count


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
