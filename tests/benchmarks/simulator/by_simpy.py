"""The plain scenario as somebody would write it for SimPy: a process per request, a resource per server."""

from __future__ import annotations

from collections.abc import Iterator

import simpy

from tests.benchmarks.simulator.wishes import Wishes

NOWHERE = -1


def run(wishes: Wishes) -> list[list[int]]:
    """Per slot and request the server that took it, or NOWHERE."""
    env = simpy.Environment()
    servers = [simpy.Resource(env, capacity=places) for places in wishes.places]
    nearest = wishes.delay_ms.argsort(axis=1, kind="stable").tolist()
    taken: list[list[int]] = [[NOWHERE] * len(clients) for clients in wishes.order]

    def request(client: int, answers: list[int], at: int) -> Iterator[simpy.Event]:
        for number in nearest[client]:
            server = servers[number]
            if server.count < server.capacity:
                with server.request() as place:
                    yield place
                    answers[at] = number
                    yield env.timeout(wishes.slot_s)
                return
        yield env.timeout(0)

    def day() -> Iterator[simpy.Event]:
        for clients, answers in zip(wishes.order, taken, strict=True):
            for at, client in enumerate(clients):
                env.process(request(client, answers, at))
            yield env.timeout(wishes.slot_s)
            yield env.timeout(0)  # those who end at this moment go before those who come

    env.process(day())
    env.run()
    return taken
