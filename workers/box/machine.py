"""What the whole machine uses now, whoever uses it: processor, memory, network."""

from __future__ import annotations

import threading
import time

import psutil

from common.status import MachineUse

# Traffic of bridges and of containers' ends of cables also passes a real interface, or never leaves the machine.
_INNER = ("lo", "veth", "docker", "br-", "virbr", "cni", "podman")


class Machine:
    """Reads the machine; rates are those since the last reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        psutil.cpu_percent(interval=None)
        self._at, self._counted = time.monotonic(), _traffic()

    def use(self) -> MachineUse:
        """As of now."""
        with self._lock:
            now, counted = time.monotonic(), _traffic()
            passed_s = max(0.001, now - self._at)
            rates = [
                max(0.0, 8 * (new - old) / passed_s) for new, old in zip(counted, self._counted, strict=True)
            ]
            self._at, self._counted = now, counted
            memory = psutil.virtual_memory()
            return MachineUse(
                cpu=min(1.0, psutil.cpu_percent(interval=None) / 100),
                memory_bytes=memory.total - memory.available,
                memory_total_bytes=memory.total,
                in_bps=rates[0],
                out_bps=rates[1],
            )


def _traffic() -> tuple[int, int]:
    """Bytes that came and went, since the machine started."""
    outer = [
        facts for name, facts in psutil.net_io_counters(pernic=True).items() if not name.startswith(_INNER)
    ]
    return sum(facts.bytes_recv for facts in outer), sum(facts.bytes_sent for facts in outer)
