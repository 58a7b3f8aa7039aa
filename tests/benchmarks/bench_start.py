"""How long a warm start takes from POST to ready, beside a bare `docker run` of the same container.

Both make a new container from the same image, with the same limits, on a user-defined bridge, and ask it by HTTP
every 10 ms until it answers; the two take turns. Run by `make bench-start`; needs root and a container engine.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import docker

from master.cli.timeline import PREDICTED
from tests.benchmarks.lines import Case, report
from tests.support.platform import RunningPlatform, quick_samples, running_platform

PORT = 8080
COMMAND = ["busybox", "httpd", "-f", "-p", str(PORT), "-h", "/tmp"]
PROBE_S = 0.01
RESOURCES = {"cpu": 0.5, "memory": "64MiB", "disk": 0}
NETWORK = "openraas-bench"
MOST_RATIO, MOST_MORE_MS = 1.3, 150.0


def manifest(name: str, **service: Any) -> dict[str, Any]:
    """An application of the sample image, without its fileset."""
    main = {
        "image": "site:1", "command": COMMAND, "port": PORT, "resources": RESOURCES,
        "readiness": {"http": "/"}, **service,
    }  # fmt: skip
    return {"openraas": 1, "name": name, "title": name, "services": {"web": main}}


def answers(host: str) -> bool:
    """Whether the container answers by HTTP."""
    connection = http.client.HTTPConnection(host, PORT, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def bare(client: docker.DockerClient, engine_url: str, image: str) -> float:
    """Seconds of `docker run` with the same limits until the first answer."""
    began = time.monotonic()
    container_id = subprocess.run(
        ["docker", "-H", engine_url, "run", "-d", "--init", "--network", NETWORK, "--cpus", "0.5", "--memory", "64m",
         "--memory-swap", "64m", "--pids-limit", "512", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
         image, *COMMAND],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    host = client.api.inspect_container(container_id)["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
    while not answers(host):
        time.sleep(PROBE_S)
    took = time.monotonic() - began
    client.api.remove_container(container_id, force=True)
    return took


def ours(platform: RunningPlatform, application: str, steps: dict[str, list[float]]) -> float:
    """Seconds from POST to running, as the box saw it (one clock: it is the same machine)."""
    began = time.time()
    deployment = platform.start(application)
    instance = platform.wait(deployment, "running")
    running = next(row for row in instance["timeline"] if row["step"] == "running")
    for row in instance["timeline"]:
        if row["took_s"] is not None and row["step"] != PREDICTED:
            steps[row["step"]].append(row["took_s"])
        steps[f"until {row['step']}"].append(row["at"] - began)
    platform.stop(deployment)
    return float(running["at"]) - began


def measure(platform: RunningPlatform, runs: int) -> list[Case]:
    """Alternate, and compare medians."""
    engine_url = platform.engine_url
    client = docker.DockerClient(base_url=engine_url)
    client.networks.create(NETWORK, driver="bridge")
    try:
        for name, service in (("bench-plain", {}), ("bench-home", {"home": "/home/user"})):
            platform.call("POST", "/applications", {"manifest": manifest(name, **service)})
        ours(platform, "bench-plain", defaultdict(list))  # the image is in the engine, the home is made
        ours(platform, "bench-home", defaultdict(list))
        image = next(
            tag for item in client.images.list() for tag in item.attrs["RepoDigests"] if "/site@" in tag
        )
        bare(client, engine_url, image)
        steps: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        rival, plain, home = [], [], []
        for _ in range(runs):
            rival.append(bare(client, engine_url, image))
            plain.append(ours(platform, "bench-plain", steps["plain"]))
            rival.append(bare(client, engine_url, image))
            home.append(ours(platform, "bench-home", steps["home"]))
    finally:
        client.networks.get(NETWORK).remove()
        client.close()
    for kind, parts in steps.items():
        for step, seconds in parts.items():
            print(f"step {kind:6} {step:20} {median(seconds) * 1000:7.1f} ms")
    print(f"docker run   {median(rival) * 1000:7.1f} ms (median of {len(rival)})")
    print(f"without files {median(plain) * 1000:6.1f} ms, with a home {median(home) * 1000:.1f} ms")
    base = median(rival)
    more = sorted((item - base) * 1000 for item in plain)
    ratio = sorted(item / base for item in plain)
    with_home = sorted(item / base for item in home)
    return [
        Case("warm-start", median(ratio), "x", "docker run", ratio, at_most=MOST_RATIO),
        Case("warm-start-more", median(more), "ms", "docker run", more, at_most=MOST_MORE_MS),
        Case("warm-start-with-home", median(with_home), "x", "docker run", with_home),
    ]


def main() -> None:
    """Start a platform of its own, measure, print BENCH lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with (
        tempfile.TemporaryDirectory(prefix="openraas-bench-") as name,
        running_platform(
            Path(name), "--demo", samples_dir=str(quick_samples(Path(name) / "samples"))
        ) as platform,
    ):
        cases = measure(platform, runs)
    sys.exit(report(cases))


if __name__ == "__main__":
    main()
