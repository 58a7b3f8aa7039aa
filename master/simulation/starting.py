"""How a start goes from its placement to the launch: with one figure for all of it, or step by step."""

from __future__ import annotations

from collections.abc import Callable

from master.simulation.clock import Clock
from master.simulation.record import STEPS
from master.simulation.run import Run
from master.simulation.scenario import Scenario, Steps, Work
from master.simulation.workshop import Workshop

Then = Callable[[], object]
Go = Callable[[Run], None]


class Start:
    """Fetches at once, and then launches in a fixed time."""

    def __init__(self, clock: Clock, scenario: Scenario) -> None:
        self._clock, self._scenario = clock, scenario

    def ask(self, then: Then) -> None:
        """Somebody asks; then it is decided."""
        then()

    def begin(self, run: Run, fetch: Then, launch: Go) -> None:  # noqa: ARG002 - an interface
        """A run was placed; `fetch` brings what is missing, and `launch` goes on when all is there."""
        fetch()

    def arrived(self, run: Run) -> None:
        """A layer has come to its box."""

    def complete(self, run: Run, launch: Go) -> None:
        """All layers have."""
        launch(run)

    def launch(self, run: Run, launched: Go) -> None:
        """Launch it."""
        self._clock.at(self._clock.now + self._scenario.cost.launch_s, launched, run)

    def launched(self, run: Run) -> None:
        """It was launched."""

    def started(self, run: Run, burns: float) -> None:
        """It runs, and keeps so many cores busy."""

    def ended(self, run: Run, then: Then) -> None:  # noqa: ARG002 - an interface
        """It is over; `then` gives back what it held."""
        then()


class Stepwise(Start):
    """Each step takes what the scenario says, on the processors that all share."""

    def __init__(self, clock: Clock, scenario: Scenario, workshop: Workshop, steps: Steps) -> None:
        super().__init__(clock, scenario)
        self._workshop, self._steps = workshop, steps
        self._tasks = tuple(scenario.tasks.values())

    def ask(self, then: Then) -> None:
        """See Start."""
        self._workshop.queue(self._steps.ask, lambda: self._workshop.together(self._steps.place, then))

    def begin(self, run: Run, fetch: Then, launch: Go) -> None:
        """The box begins; then layers come, while the engine unpacks those that are there."""
        run.block.steps_s[run.at, 0] = self._clock.now - run.asked_at
        run.step_at = self._clock.now

        def prepared() -> None:
            there = self._workshop.is_unpacked(run.box, run.application)
            self._workshop.take(self._steps.network if there else Work(), begun)

        def begun() -> None:
            if run.over:
                return
            self._step(run, "prepare")
            self._workshop.unpack(run.box, run.application, lambda: self._unpacked(run, launch))
            if run.missing:
                self._workshop.take(self._steps.fetch, lambda: None if run.over else fetch())
            else:
                fetch()

        self._workshop.take(self._steps.prepare, prepared)

    def arrived(self, run: Run) -> None:
        """See Start."""
        self._workshop.arrived(run.box)

    def complete(self, run: Run, launch: Go) -> None:
        """See Start."""
        if run.over:
            return
        self._step(run, "transfer")
        run.complete = True
        if run.unpacked:
            self._mount(run, launch)

    def _unpacked(self, run: Run, launch: Go) -> None:
        run.unpacked = True
        if run.complete and not run.over:
            self._mount(run, launch)

    def _mount(self, run: Run, launch: Go) -> None:
        self._step(run, "unpack")

        def mounted() -> None:
            if not run.over:
                self._step(run, "files")
                launch(run)

        if self._tasks[run.application.task].home:
            self._workshop.take(self._steps.files, mounted)
        else:
            mounted()

    def launch(self, run: Run, launched: Go) -> None:
        """See Start."""
        self._workshop.take(self._steps.launch, lambda: launched(run))

    def launched(self, run: Run) -> None:
        """See Start."""
        self._step(run, "launch")

    def started(self, run: Run, burns: float) -> None:
        """See Start."""
        if burns:
            run.burning = self._workshop.burn(burns)

    def ended(self, run: Run, then: Then) -> None:
        """See Start."""
        if run.burning is not None:
            self._workshop.stop(run.burning)
        self._workshop.take(self._steps.release, then)

    def _step(self, run: Run, name: str) -> None:
        """A step is done; the next one begins."""
        now = self._clock.now
        run.block.steps_s[run.at, STEPS.index(name)] = now - run.step_at
        run.step_at = now
