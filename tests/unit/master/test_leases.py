"""How long a deployment may run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import Settings
from master.catalogue.manifest import Manifest
from master.deployments.leases import STEPS_OF_USE, end_by_use, idle_stop_s, lease_terms

HOUR = 3600.0


def manifest(access: str = "web", **keys: Any) -> Manifest:
    service = {"image": "site:1", "access": access, **({"port": 80} if access == "web" else {})}
    return Manifest.model_validate(
        {"openraas": 1, "name": "site", "title": "Site", "services": {"web": service}, **keys}
    )


@pytest.mark.parametrize(
    ("keys", "person_s", "lease_s", "limit_s"),
    [
        ({}, None, 8 * HOUR, 24 * HOUR),
        ({"lease": "1h"}, None, HOUR, 24 * HOUR),
        ({"lease": "1h", "lease_max": "2h"}, None, HOUR, 2 * HOUR),
        ({"lease": "48h"}, None, 48 * HOUR, 48 * HOUR),
        ({"lease": "4h"}, 3 * HOUR, 3 * HOUR, 3 * HOUR),
        ({"lease_max": "30h"}, 26 * HOUR, 8 * HOUR, 26 * HOUR),
    ],
)
def test_the_strictest_of_application_operator_and_person_counts(
    keys: dict[str, str], person_s: float | None, lease_s: float, limit_s: float
) -> None:
    terms = lease_terms(manifest(**keys), Settings(), person_s=person_s)
    assert (terms["lease_step_s"], terms["lease_limit_s"]) == (lease_s, limit_s)


def test_the_manifest_says_when_lack_of_use_ends_it_else_the_operator() -> None:
    settings = Settings(idle_stop_s=1800)
    assert idle_stop_s(manifest(), settings) == 1800
    assert idle_stop_s(manifest(idle_stop="10min"), settings) == 600
    assert idle_stop_s(manifest(idle_stop=0), settings) == 0
    assert idle_stop_s(manifest("job"), settings) == 0


moments = st.floats(0, 1e6)


@given(lease_end=moments, latest=moments, by_use_s=st.floats(1, 1e5), now=moments)
def test_use_extends_a_lease_in_steps_and_never_beyond_its_limit(
    lease_end: float, latest: float, by_use_s: float, now: float
) -> None:
    end = end_by_use(lease_end, latest, by_use_s, now)
    if end is None:
        gained = min(now + by_use_s, latest) - lease_end
        assert gained < by_use_s / STEPS_OF_USE
    else:
        assert lease_end < end <= min(latest, now + by_use_s)
