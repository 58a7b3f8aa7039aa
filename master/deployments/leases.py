"""How long a deployment may run. Pure: what services do about it is in `lease_services`."""

from __future__ import annotations

import time
from typing import Any

from common.settings import Settings
from master.catalogue.manifest import Manifest

# What an operator keeps ends in ten years, so that nothing has to know of a lease without an end.
KEPT_S = 10 * 365 * 86400.0
# No limit makes a lease shorter than this.
SHORTEST_S = 60.0
# By use a lease grows in steps: each is told to the boxes.
STEPS_OF_USE = 4


def lease_terms(
    manifest: Manifest, settings: Settings, *, is_kept: bool = False, person_s: float | None = None
) -> dict[str, Any]:
    """The columns of a new deployment: its lease, how far that can be extended, when it ends for lack of use.

    `person_s` is the person's own limit of one deployment's time, if there is one.
    """
    limit_s = longest_s(manifest, settings, person_s)
    lease_s = min(manifest.lease or settings.lease_s, limit_s)
    return {
        "lease_end": time.time() + (KEPT_S if is_kept else lease_s),
        "lease_step_s": lease_s,
        "lease_limit_s": limit_s,
        "idle_stop_s": idle_stop_s(manifest, settings),
        "is_kept": is_kept,
    }


def longest_s(manifest: Manifest, settings: Settings, person_s: float | None = None) -> float:
    """How long it may run with all that it is extended; `person_s` as in `lease_terms`."""
    limits = [manifest.lease_max or settings.lease_max_s]
    if person_s is not None:
        limits.append(person_s)
    limit_s = max(min(limits), SHORTEST_S)
    if manifest.lease_max is None and person_s is None:
        return max(
            limit_s, manifest.lease or settings.lease_s
        )  # a default does not shorten what a manifest says
    return limit_s


def idle_stop_s(manifest: Manifest, settings: Settings) -> float:
    """After how long without use it ends; 0: never. Nobody is ever connected to a job."""
    if any(service.access.ends_by_itself for service in manifest.services.values()):
        return 0.0
    return settings.idle_stop_s if manifest.idle_stop is None else manifest.idle_stop


def end_by_use(lease_end: float, latest_end: float, by_use_s: float, now: float) -> float | None:
    """The lease's new end because somebody uses it at `now`; none if that changes too little to tell boxes of it."""
    end = min(now + by_use_s, latest_end)
    gained = end - lease_end
    if gained <= 0 or (gained < by_use_s / STEPS_OF_USE and end < latest_end):
        return None
    return end
