"""A compute role on a box of the test, and everything around it."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from typing import Any

from common.readiness import Readiness
from common.service import ServiceSpec
from common.wishes import ComputeWish
from common.words import Endpoint, Resources, Role
from tests.integration.workers.compute.fakes import FakeLayers, FakeMounter
from tests.support.box import TestBox
from tests.support.registry import Registry, make_image
from workers.box.worker import BoxWorker
from workers.compute.engine import Engine
from workers.compute.role import Compute

BOX = "compute-test"
LABELS = {"openraas.box": BOX}
SERVE = ["httpd", "-f", "-p", "8000", "-h", "/www"]
HERE = Endpoint(host="127.0.0.1", port=9)


@dataclass
class Running:
    """A compute role on a box, and everything around it."""

    box: TestBox
    role: Compute
    driver: BoxWorker
    engine: Engine
    mounter: FakeMounter
    layers: FakeLayers
    registry: Registry

    def wish(self, instance: str = "i-1", **changes: Any) -> ComputeWish:
        """A wish for a small web server."""
        service: dict[str, Any] = {
            "name": "web", "image": "sample:1", "command": SERVE, "port": 8000,
            "resources": Resources(cpu=0.1, memory_bytes=32 * 2**20), "readiness": Readiness(http="/"),
        }  # fmt: skip
        service.update(changes.pop("service", {}))
        values: dict[str, Any] = {
            "subject": instance, "instance": instance, "deployment": f"d-{instance}", "generation": 1, "version": 1,
            "wanted": "running", "service": ServiceSpec(**service), "image": make_image().source(),
        }  # fmt: skip
        return ComputeWish(**{**values, **changes})

    def want(self, wish: ComputeWish) -> ComputeWish:
        """Put a wish on the list and wake the box."""
        self.box.wish(wish)
        self.driver.wake(Role.COMPUTE, wish.subject)
        return wish

    def stop(self, wish: ComputeWish) -> None:
        """Want it stopped, and wait until the box says so."""
        self.want(wish.model_copy(update={"wanted": "stopped", "version": wish.version + 1}))
        self.box.reports.wait_for(wish.instance, "stopped")

    def address(self, instance: str) -> str:
        row = self.role._instances.get(instance)
        assert row is not None
        assert row.upstream is not None
        return row.upstream

    def page(self, instance: str, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://{self.address(instance)}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def is_clean(self, instance: str) -> bool:
        """Whether nothing of an instance is left."""
        names = [facts.labels.get("openraas.instance") for facts in self.engine.containers(LABELS)]
        row = self.role._instances.get(instance)
        return (
            instance not in names
            and not [key for key in self.mounter.mounted if key[0] == instance]
            and (row is None or (row.state.is_over and row.address is None))
        )
