"""On whose behalf the code runs now, so that a change need not be told who makes it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Actor:
    """Who makes changes, by what, from where; nobody: the platform itself."""

    id: str | None = None
    name: str = ""
    means: str = ""
    address: str = ""
    # How many entries were written on this one's behalf.
    recorded: int = field(default=0, compare=False)


_current: ContextVar[Actor] = ContextVar("actor")


def act_as(actor: Actor) -> None:
    """From now on in this thread or request, changes are made by `actor`."""
    _current.set(actor)


def current_actor() -> Actor:
    """Who makes changes now."""
    return _current.get(None) or Actor()
