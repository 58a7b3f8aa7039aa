"""Prometheus metrics of a process on a port of its own (loopback)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, start_http_server

STEP_SECONDS = Histogram(
    "openraas_step_seconds",
    "How long a step of a start or stop took.",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
INSTANCES = Gauge("openraas_instances", "Instances by state.", ["state"])
QUEUE_DEPTH = Gauge("openraas_queue_depth", "Messages that wait in a queue.", ["queue"])
SOURCE_BYTES = Counter(
    "openraas_source_bytes_total", "Bytes of layers received, by the box they came from.", ["source"]
)
PLACEMENTS = Counter("openraas_placements_total", "Decisions of the scheduler.", ["policy", "outcome"])
REPORTS = Counter(
    "openraas_reports_total", "Reports of boxes, by kind and whether they counted.", ["kind", "outcome"]
)


def serve_metrics(port: int) -> None:
    """Serve `/metrics` on 127.0.0.1:`port` from a thread; 0 serves nothing."""
    if port:
        start_http_server(port, addr="127.0.0.1")
