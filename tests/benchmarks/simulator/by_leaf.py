"""The plain scenario for leafsim (`pip install leafsim`): an orchestrator that takes the nearest node with room.

leafsim knows nodes with compute units, links, and tasks on them, but no slots, no demand and no refusal; those are
SimPy again. A task there needs a flow of data from a source: people stand as one node that is linked to every server.
"""

from __future__ import annotations

from collections.abc import Iterator

import simpy
from leaf.application import Application, ProcessingTask, SourceTask
from leaf.infrastructure import Infrastructure, Link, Node
from leaf.orchestrator import Orchestrator
from leaf.power import PowerModelLink

from tests.benchmarks.simulator.wishes import Wishes

NOWHERE, UNITS = -1, 5


class _Full(Exception):
    """No node has room."""


class _Nearest(Orchestrator):
    """Places one task on the nearest node with room."""

    def __init__(self, infrastructure: Infrastructure, nodes: list[Node], nearest: list[list[int]]) -> None:
        super().__init__(infrastructure)
        self._nodes, self._nearest = nodes, nearest
        self.client = 0

    def _processing_task_placement(self, processing_task: ProcessingTask, application: Application) -> Node:
        for number in self._nearest[self.client]:
            node = self._nodes[number]
            if node.used_cu + processing_task.cu <= node.cu:
                return node
        raise _Full


def run(wishes: Wishes) -> list[list[int]]:
    """Per slot and request the server that took it, or NOWHERE."""
    env = simpy.Environment()
    nodes = [Node(str(number), cu=places * UNITS) for number, places in enumerate(wishes.places)]
    infrastructure, people = Infrastructure(), Node("people")
    for node in nodes:
        infrastructure.add_link(Link(people, node, bandwidth=1e12, power_model=PowerModelLink(0), latency=1))
    nearest = wishes.delay_ms.argsort(axis=1, kind="stable").tolist()
    orchestrator = _Nearest(infrastructure, nodes, nearest)
    taken: list[list[int]] = [[NOWHERE] * len(clients) for clients in wishes.order]

    def hold(application: Application) -> Iterator[simpy.Event]:
        yield env.timeout(wishes.slot_s)
        application.deallocate()

    def day() -> Iterator[simpy.Event]:
        for clients, answers in zip(wishes.order, taken, strict=True):
            for at, client in enumerate(clients):
                source, task = SourceTask(bound_node=people), ProcessingTask(cu=UNITS)
                application = Application()
                application.add_task(source)
                application.add_task(task, incoming_data_flows=[(source, 0)])
                orchestrator.client = client
                try:
                    orchestrator.place(application)
                except _Full:
                    source.deallocate()
                    continue
                answers[at] = int(task.node.name)
                env.process(hold(application))
            yield env.timeout(wishes.slot_s)
            yield env.timeout(0)

    env.process(day())
    env.run()
    return taken
