"""Whole labs for tests: made with one call, removed whatever happens, and checked to have left nothing."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.settings import load_settings
from common.words import Role
from workers.lab import build, remains
from workers.lab.fleet import Lab
from workers.lab.plan import Link

LINK = Link(uplink_bps=100_000_000, downlink_bps=100_000_000)
NONE: Mapping[str, str] = {}


@contextmanager
def running(
    roles: Sequence[str],
    link: Link = LINK,
    *,
    delays_ms: Sequence[float] = (0.0,),
    box_options: Sequence[str] = (),
    settings: Mapping[str, str] = NONE,
) -> Iterator[Lab]:
    """A lab with a master of its own and one box per entry of `roles` (`filestore+depository`)."""
    name = f"t{secrets.token_hex(2)}"
    # Not below pytest's directory: the paths of Unix sockets end at 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="orlab-"))
    plan = build.Plan(
        boxes=len(roles),
        roles=[frozenset(Role(word) for word in entry.split("+")) for entry in roles],
        links=[link],
        lab=name,
        state_dir=directory,
        own_master=True,
        box_options=("--lent", "4GB", "--cpu", "2", "--memory", "2GiB", *box_options),
        delays_ms=delays_ms,
        settings=settings,
    )
    try:
        yield build.up(plan, load_settings())
    finally:
        if name in remains.labs():
            build.down(name)
        assert remains.of(name, directory) == []
        directory.rmdir()
