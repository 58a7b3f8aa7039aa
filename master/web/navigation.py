"""Where one can go from every page: one table, a line for each subject.

`MAIN` stands at the top; the groups of `MENU` in the person's own menu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import request, url_for
from flask_babel import LazyString
from flask_babel import lazy_gettext as _l

from master.accounts.guard import may, visitor
from master.accounts.models import User, UserRole
from master.web.current import context


@dataclass(frozen=True)
class Entry:
    """A page that is reached by name; `role` is the least that sees it, `address` stands for what is no endpoint."""

    text: LazyString
    endpoint: str = ""
    address: str = ""
    role: UserRole = UserRole.USER
    seen_by: Callable[[User], bool] | None = None  # where a setting says who sees it

    @property
    def href(self) -> str:
        """Where it leads."""
        return self.address or url_for(self.endpoint)

    @property
    def is_here(self) -> bool:
        """Whether the page that is shown lies there."""
        return request.path == self.href or request.path.startswith(self.href.rstrip("/") + "/")


def _simulates(user: User) -> bool:
    return may(user, UserRole(context().settings.simulation_role))


def _has_groups_only(user: User) -> bool:
    """Administrators find groups beside people."""
    return not may(user, UserRole.ADMINISTRATOR)


MAIN = (
    Entry(_l("Applications"), "catalogue.catalogue"),
    Entry(_l("My deployments"), "deployments.mine"),
    Entry(_l("Screens"), "screens.screens"),
    Entry(_l("Queue"), "queue.waiting"),
    Entry(_l("Files"), "files.home"),
    Entry(_l("Boxes"), "boxes.boxes"),
)
MENU = (
    (
        Entry(_l("Account and tokens"), "accounts.account"),
        Entry(_l("Groups"), "people.list_groups", seen_by=_has_groups_only),
    ),
    (
        Entry(_l("People"), "people.people", role=UserRole.ADMINISTRATOR),
        Entry(_l("Images and layers"), "images.images"),
        Entry(_l("Timetable"), "timetable.timetable", role=UserRole.OPERATOR),
        Entry(_l("Simulator"), "simulations.simulations", seen_by=_simulates),
        Entry(_l("Message queues"), address="/flower/", role=UserRole.OPERATOR),
    ),
    (
        Entry(_l("REST interface"), "docs.browse"),
        Entry(_l("About OpenRaaS"), "pages.about"),
    ),
)


def main_entries() -> list[Entry]:
    """What stands at the top for whoever asks."""
    return [entry for entry in MAIN if _sees(entry)]


def menu_groups() -> list[list[Entry]]:
    """What stands in the person's menu, group by group."""
    groups = [[entry for entry in group if _sees(entry)] for group in MENU]
    return [group for group in groups if group]


def _sees(entry: Entry) -> bool:
    user = visitor()
    if user is None:
        return False
    return may(user, entry.role) if entry.seen_by is None else entry.seen_by(user)
