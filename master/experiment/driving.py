"""Asking for what a trace asks for, at its times, on a lab that is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from common.words import InstanceState
from master.cli.client import Client, part
from master.experiment.errors import ExperimentError

POLL_S = 0.5
# Until the first request: so long takes it to have a thread for each.
BEFORE_S = 0.3
_FAILED = frozenset({InstanceState.FAILED, InstanceState.LOST})
_MOST = 200  # that one answer lists


@dataclass
class Wish:
    """One request of the trace, and what became of it."""

    application: str
    options: dict[str, str | int]
    arrives_s: float
    lasts_s: float
    asked_at: float = 0.0  # Unix time
    deployment: str = ""
    ends_at: float | None = None
    stopped: bool = False


class Driver:
    """Asks, waits until everything runs, and stops each when its time is over."""

    def __init__(self, client: Client, wishes: Sequence[Wish], patience_s: float) -> None:
        self._client = client
        self._wishes = wishes
        self._patience_s = patience_s
        self._ended = threading.Event()

    def run(self, *, to_the_end: bool) -> list[dict[str, Any]]:
        """The deployments as REST shows them, in the order of the wishes; raises ExperimentError.

        With `to_the_end` all of them have had their time; without, it is enough that each has started.
        """
        began = time.time() + BEFORE_S
        limit = began + max(wish.arrives_s for wish in self._wishes) + self._patience_s
        if to_the_end:
            limit += max(wish.lasts_s for wish in self._wishes)
        with ThreadPoolExecutor(len(self._wishes)) as pool:
            try:
                asking = [pool.submit(self._ask, wish, began + wish.arrives_s) for wish in self._wishes]
                while not self._is_over(asking, to_the_end=to_the_end):
                    if time.time() > limit:
                        raise ExperimentError(self._late())
                    time.sleep(POLL_S)
            finally:
                self._ended.set()  # those who still wait for their time ask no more
        return [self._client.get(f"/deployments/{part(wish.deployment)}") for wish in self._wishes]

    def _ask(self, wish: Wish, at: float) -> None:
        if self._ended.wait(max(0.0, at - time.time())):
            return
        wish.asked_at = time.time()
        body = {"application": wish.application, "options": wish.options}
        wish.deployment = self._client.send("POST", "/deployments", body)["id"]

    def _is_over(self, asking: Sequence[Future[None]], *, to_the_end: bool) -> bool:
        for future in asking:
            if future.done():
                future.result()
        states = {
            item["id"]: InstanceState(item["state"])
            for item in self._client.get("/deployments", limit=_MOST)["deployments"]
        }
        over = True
        for wish in self._wishes:
            state = states.get(wish.deployment)
            if state in _FAILED:
                raise ExperimentError(self._why(wish))
            self._look_after(wish, state)
            done = wish.stopped or state is InstanceState.STOPPED
            over = over and (done if to_the_end else wish.ends_at is not None)
        return over

    def _look_after(self, wish: Wish, state: InstanceState | None) -> None:
        """Note when it began to run, and stop it when it has had its time."""
        if wish.ends_at is None and state in (InstanceState.RUNNING, InstanceState.STOPPED):
            timeline = self._client.get(f"/deployments/{part(wish.deployment)}")["instances"][0]["timeline"]
            ran = [row["at"] for row in timeline if row["step"] == "running"]
            wish.ends_at = (ran[0] if ran else time.time()) + wish.lasts_s
        if wish.ends_at is not None and not wish.stopped and time.time() >= wish.ends_at:
            wish.stopped = True
            if state is InstanceState.RUNNING:
                self._client.send("POST", f"/deployments/{part(wish.deployment)}/stop")

    def _why(self, wish: Wish) -> str:
        instance = self._client.get(f"/deployments/{part(wish.deployment)}")["instances"][0]
        return f"{wish.application} is {instance['state']}: {instance['error'] or instance['reason']}"

    def _late(self) -> str:
        late = [wish for wish in self._wishes if wish.ends_at is None]
        asked = [wish for wish in late if wish.deployment]
        why = f" {self._why(asked[0])}" if asked else ""
        return f"{len(late)} of {len(self._wishes)} requests have not started in time.{why}"


def wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait until it holds; raises ExperimentError that says what did not happen."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise ExperimentError(f"{what} within {limit_s:.0f} s.")
        time.sleep(POLL_S)
