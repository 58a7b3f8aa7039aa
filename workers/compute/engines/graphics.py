"""Graphics processors in containers: NVIDIA's by its runtime, those of other makes as the kernel's render nodes."""

from __future__ import annotations

from typing import Any

from docker.types import DeviceRequest

from workers.box.capacity import nvidia_gpus, render_nodes


def graphics(count: int) -> dict[str, Any]:
    """The words of a host configuration that pass so many in."""
    if not count:
        return {}
    nodes = [] if nvidia_gpus() else render_nodes()[:count]
    if not nodes:  # if the owner lends some all the same, the engine may know them, or says that it does not
        return {"device_requests": [DeviceRequest(count=count, capabilities=[["gpu"]])]}
    return {
        "devices": [f"{node}:{node}:rw" for node in nodes],
        # Who is not root in the container reaches a node by its group alone.
        "group_add": sorted({str(node.stat().st_gid) for node in nodes}),
    }
