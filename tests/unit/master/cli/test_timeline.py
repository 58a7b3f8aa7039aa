"""Timelines in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from master.cli.timeline import describe
from master.up.demo import timeline

EXPECTED: dict[str, Any] = {
    "id": 1,
    "at": 1.0,
    "box": "a",
    "step": "predicted",
    "took_s": 3.0,
    "size_bytes": 2 * 2**20,
    "sources": {},
    "detail": "layers 2.0 s, launch 1.0 s",
}
FETCHED = EXPECTED | {
    "id": 2,
    "at": 2.0,
    "step": "fetch",
    "took_s": 1.5,
    "sources": {"b": 2 * 2**20},
    "detail": "",
}


def test_what_a_start_is_expected_to_take_is_not_shown_as_what_it_took() -> None:
    assert "to take 3.00 s" in describe(EXPECTED, 0.0)
    assert "took 1.50 s  2.0 MiB (b 2.0 MiB)" in describe(FETCHED, 0.0)


def test_the_first_start_shows_expectations_apart_and_sources_where_there_are_some() -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(timeline({"created_at": 0.0, "instances": [{"timeline": [EXPECTED, FETCHED]}]}))
    expected, fetched = shown.get().splitlines()[1:]
    assert "(3000 ms)" in expected
    assert "from" not in expected
    assert "1500 ms" in fetched
    assert "2.0 MiB from b 2.0 MiB" in fetched
