"""What engines say of a container's use, in the words of this project."""

from __future__ import annotations

from typing import Any

from workers.compute.use_source import parse_use


def answer(**memory: Any) -> dict[str, Any]:
    return {
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {"usage": 100, "limit": 1000, **memory},
        "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 1}, "eth1": {"rx_bytes": 5, "tx_bytes": 2}},
    }


def test_sums_are_told_over_all_networks_and_in_seconds() -> None:
    found = parse_use(answer(), 7.0)
    assert found is not None
    assert found.model_dump() == {
        "at": 7.0,
        "cpu_s": 2.5,
        "memory_bytes": 100,
        "memory_limit_bytes": 1000,
        "received_bytes": 15,
        "sent_bytes": 3,
    }


def test_files_that_the_kernel_may_drop_are_no_use_under_either_version_of_cgroups() -> None:
    for name in ("total_inactive_file", "inactive_file"):
        found = parse_use(answer(stats={name: 30}), 0.0)
        assert found is not None
        assert found.memory_bytes == 70


def test_an_absurd_limit_is_none() -> None:
    for limit in (0, 2**63 - 4096):
        found = parse_use(answer(limit=limit), 0.0)
        assert found is not None
        assert found.memory_limit_bytes is None


def test_of_a_container_that_has_ended_nothing_is_said() -> None:
    assert parse_use({"cpu_stats": {}, "memory_stats": {}}, 0.0) is None
