"""The output of containers: how much of it box, portal and command line ask for and give at most."""

from __future__ import annotations

DEFAULT_LINES = 1000
MOST_LINES = 10_000
