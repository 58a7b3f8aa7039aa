"""Notices containers that end by themselves: at once by the engine's events, else with the next look."""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.logs import get_logger
from workers.compute.engine import ContainerFacts, Engine
from workers.compute.errors import EngineError
from workers.compute.instances import Instances
from workers.compute.labels import LABEL_BOX

log = get_logger(__name__)

RETRY_S = 2.0


class Watching:
    """Which containers ended without being asked to."""

    def __init__(self, box: str, engine: Engine, instances: Instances, wake: Callable[[str], None]) -> None:
        self._labels = {LABEL_BOX: box}
        self._engine = engine
        self._instances = instances
        self._wake = wake
        self._gone: set[str] = set()

    def start(self) -> None:
        """Listen in a thread for as long as this process lives."""
        threading.Thread(target=self._listen, name="exits", daemon=True).start()

    def is_gone(self, container: str | None) -> bool:
        """Whether the container is believed to have ended."""
        return container in self._gone

    def compare(self, listed: list[ContainerFacts]) -> None:
        """Look for ends that no event told of."""
        running = {facts.id for facts in listed if facts.running}
        held = self._instances.held()
        self._gone &= {row.container for row in held if row.container is not None}
        for row in held:
            if row.container is not None and row.container not in running:
                self._ended(row.container, row.instance)

    def back(self, container: str) -> None:
        """It runs after all."""
        self._gone.discard(container)

    def _ended(self, container: str, instance: str) -> None:
        self._gone.add(container)
        self._wake(instance)

    def _listen(self) -> None:
        pause = threading.Event()
        is_told = False
        while True:
            try:
                for container in self._engine.exits(self._labels):
                    is_told = False
                    self._on_exit(container)
            except EngineError as error:
                # Said once: an engine may be away for long.
                (log.debug if is_told else log.warning)("not told of exits", error=str(error))
                is_told = True
            pause.wait(RETRY_S)

    def _on_exit(self, container: str) -> None:
        for row in self._instances.held():
            if row.container == container:
                self._ended(container, row.instance)
                return
        # Not noted yet, or on its way out anyway: the next look decides.
