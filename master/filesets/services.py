"""Filesets: who may use them, which boxes hold them, and how their content comes and goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import redis
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from common.errors import BadInput, Conflict, Forbidden, NotFound, Unavailable
from common.logs import get_logger
from common.reports import FilesetHeld
from common.status import BoxStatus
from common.tickets import FilesetTicket
from common.units import show_size
from common.words import Endpoint, InstanceState, Role, new_id
from master.accounts.models import User, UserRole
from master.boxes.models import Box
from master.boxes.services import statuses
from master.deployments.models import Instance, Mount
from master.filesets.models import Fileset, FilesetCopy, FilesetKind

log = get_logger(__name__)

HELD = "held"
REMOVED = "removed"
HOME_NAME = "home"


@dataclass(frozen=True)
class Transfer:
    """Where the content of a fileset may be put or got, and the ticket that says so."""

    box: str
    front: Endpoint
    ticket: FilesetTicket


@dataclass(frozen=True)
class Put:
    """A put that was let begin: the version that it will be, and the boxes that take it."""

    fileset: Fileset
    version: int
    transfers: list[Transfer]


def find(session: Session, name: str, user: User | None) -> Fileset:
    """The fileset of this name that `user` sees: an own one first, then a public one. Raises NotFound."""
    found = _visible(session, name, user)
    if found is None:
        raise NotFound(
            f"There is no fileset {name}.",
            field="fileset",
            remedy=f"Put it: openraas fileset put {name} DIRECTORY.",
        )
    return found


def _visible(session: Session, name: str, user: User | None) -> Fileset | None:
    query = select(Fileset).where(Fileset.name == name, Fileset.removed_at.is_(None))
    if user is not None:
        own = session.scalar(
            query.where(Fileset.owner_id == user.id, Fileset.kind == FilesetKind.PERSONAL.value)
        )
        if own is not None:
            return own
    return session.scalar(query.where(Fileset.kind == FilesetKind.PUBLIC.value))


def list_filesets(session: Session, user: User) -> Sequence[Fileset]:
    """What `user` may see: own ones (the home too) and public ones; an administrator sees all."""
    query = select(Fileset).where(Fileset.removed_at.is_(None)).order_by(Fileset.name, Fileset.id)
    if user.role != UserRole.ADMINISTRATOR:
        query = query.where(or_(Fileset.owner_id == user.id, Fileset.kind == FilesetKind.PUBLIC.value))
    return session.scalars(query).all()


def home_of(session: Session, user: User, limit_bytes: int) -> Fileset:
    """The person's home; its row is made if it is missing, its files when it is first exported."""
    found = known_home(session, user)
    if found is not None:
        return found
    home = Fileset(
        id=new_id("f"),
        name=HOME_NAME,
        kind=FilesetKind.HOME.value,
        owner_id=user.id,
        version=1,
        offered_version=1,
        size_limit_bytes=limit_bytes,
    )
    try:
        with session.begin_nested():
            session.add(home)
    except IntegrityError:  # two requests of one person at once
        if (found := known_home(session, user)) is None:
            raise
        return found
    return home


def known_home(session: Session, user: User) -> Fileset | None:
    """The person's home, if there ever was one."""
    own_home = (Fileset.owner_id == user.id, Fileset.kind == FilesetKind.HOME.value)
    return session.scalar(select(Fileset).where(*own_home, Fileset.removed_at.is_(None)))


def begin_put(
    session: Session,
    client: redis.Redis,
    user: User,
    name: str,
    *,
    public: bool,
    size_bytes: int,
    limit_bytes: int,
    ticket_s: float,
    boxes: Sequence[str] = (),
) -> Put:
    """Let a new version of a fileset be put to `boxes`, or to those that suit best.

    The version counts once a box reports that it holds it. Raises BadInput, Conflict, Forbidden or
    Unavailable, each naming what is in the way.
    """
    if size_bytes > limit_bytes:
        raise BadInput(
            f"A fileset may have {show_size(limit_bytes)}; this one has {show_size(size_bytes)}.",
            field="size_bytes",
            remedy="Leave out what is not needed, or split it into several filesets.",
        )
    fileset = _own_or_new(session, user, name, public=public)
    chosen = _choose(session, client, fileset, size_bytes, boxes)
    fileset.offered_version += 1
    for status in chosen:
        copy = session.get(FilesetCopy, (fileset.id, status.box))
        if copy is None:
            session.add(FilesetCopy(fileset_id=fileset.id, box_id=status.box))
        else:
            copy.wanted = HELD
    session.flush()
    version = fileset.offered_version
    transfers = [
        _transfer(user, fileset, version, status, "put", limit_bytes=limit_bytes, ticket_s=ticket_s)
        for status in chosen
    ]
    return Put(fileset, version, transfers)


def _transfer(
    user: User,
    fileset: Fileset,
    version: int,
    status: BoxStatus,
    action: Literal["put", "get"],
    *,
    limit_bytes: int,
    ticket_s: float,
) -> Transfer:
    if status.front is None:
        raise Unavailable(f"Box {status.box} serves nothing now.", remedy="Try again in a moment.")
    ticket = FilesetTicket(
        user=user.name,
        box=status.box,
        fileset=fileset.id,
        version=version,
        action=action,
        size_limit_bytes=limit_bytes,
        expires_at=time.time() + ticket_s,
    )
    return Transfer(status.box, status.front, ticket)


def _own_or_new(session: Session, user: User, name: str, *, public: bool) -> Fileset:
    if name == HOME_NAME:
        raise BadInput("The name home is taken by everybody's home.", field="name", remedy="Choose another.")
    kind = FilesetKind.PUBLIC if public else FilesetKind.PERSONAL
    if public and user.role == UserRole.USER:
        raise Forbidden(
            "Only an operator puts public filesets.",
            field="public",
            remedy="Put it for yourself, or ask one.",
        )
    found = session.scalar(
        select(Fileset).where(Fileset.name == name, Fileset.owner_id == user.id, Fileset.removed_at.is_(None))
    )
    if public and found is None:
        found = _visible(session, name, None)
    if found is not None and found.kind != kind:
        raise Conflict(
            f"The fileset {name} is {found.kind} already.", field="public", remedy="Remove it first."
        )
    if found is None:
        found = Fileset(id=new_id("f"), name=name, kind=kind.value, owner_id=user.id)
        session.add(found)
        session.flush()
    return found


def _choose(
    session: Session, client: redis.Redis, fileset: Fileset, size_bytes: int, wanted: Sequence[str]
) -> list[BoxStatus]:
    """The filestores that take a put: those named, else those that have it already, else the roomiest."""
    alive = statuses(client)
    for box in wanted:
        if (problem := _problem(alive.get(box), size_bytes)) is not None:
            raise Unavailable(
                f"Box {box} cannot take the fileset: {problem}.",
                field="boxes",
                remedy="Name another, or none to let one be chosen.",
            )
    if wanted:
        return [alive[box] for box in dict.fromkeys(wanted)]
    suited = _suited(session, alive, size_bytes)
    holding = {copy.box_id for copy in fileset.copies if copy.wanted == HELD}
    here = [status for status in suited if status.box in holding]
    return here or [max(suited, key=lambda status: status.disk.free_bytes)]


def roomiest(session: Session, client: redis.Redis) -> str:
    """The fixed filestore with the most room, for what lies nowhere yet; raises Unavailable if there is none."""
    return max(_suited(session, statuses(client), 0), key=lambda status: status.disk.free_bytes).box


def _suited(session: Session, alive: dict[str, BoxStatus], size_bytes: int) -> list[BoxStatus]:
    cordoned = set(session.scalars(select(Box.id).where(Box.cordoned)))
    suited = [
        status
        for box, status in sorted(alive.items())
        if status.fixed and box not in cordoned and _problem(status, size_bytes) is None
    ]
    if not suited:
        raise Unavailable(
            "No fixed filestore with enough room is up.",
            remedy="Join one: openraas box join MASTER TOKEN --roles filestore.",
        )
    return suited


def _problem(status: BoxStatus | None, size_bytes: int) -> str | None:
    if status is None:
        return "it is not up"
    if Role.FILESTORE not in status.roles or status.filestore is None or status.front is None:
        return "it is not a filestore"
    if status.disk.free_bytes < size_bytes:
        return f"{show_size(status.disk.free_bytes)} are free there and {show_size(size_bytes)} are needed"
    return None


def begin_get(client: redis.Redis, user: User, fileset: Fileset, *, ticket_s: float) -> Transfer:
    """Let the newest version be read from a box that holds it; raises Unavailable if none is up."""
    alive = statuses(client)
    for box in holders(fileset):
        status = alive.get(box)
        if status is not None and status.front is not None:
            limit = fileset.size_bytes
            return _transfer(
                user, fileset, fileset.version, status, "get", limit_bytes=limit, ticket_s=ticket_s
            )
    raise Unavailable(
        f"No box that holds the fileset {fileset.name} is up.",
        field="fileset",
        remedy="Start one of its boxes, or put it again.",
    )


def holders(fileset: Fileset) -> list[str]:
    """The boxes on which the newest version lies whole, by their ids."""
    return sorted(
        copy.box_id
        for copy in fileset.copies
        if copy.wanted == HELD and not copy.follows and copy.version == fileset.version and copy.version > 0
    )


@dataclass(frozen=True)
class HomeCopy:
    """A home, for lists: whose it is, where it is written, and its copies with the time as of which they are.

    `unsettled` names the boxes with a copy that was read while the home was written to.
    """

    fileset: str
    owner: str
    boxes: list[str]
    copies: list[tuple[str, float | None]]
    unsettled: frozenset[str]


def home_copies(session: Session) -> list[HomeCopy]:
    """All homes, by their owners."""
    homes = (
        select(Fileset, User.name)
        .join(User, User.id == Fileset.owner_id)
        .where(Fileset.kind == FilesetKind.HOME.value, Fileset.removed_at.is_(None))
        .order_by(User.name)
    )
    return [
        HomeCopy(
            fileset=home.id,
            owner=owner,
            boxes=sorted(copy.box_id for copy in home.copies if not copy.follows and copy.wanted == HELD),
            copies=sorted((copy.box_id, copy.copied_at) for copy in home.copies if copy.follows),
            unsettled=frozenset(copy.box_id for copy in home.copies if not copy.settled),
        )
        for home, owner in session.execute(homes)
    ]


def may_change(user: User, fileset: Fileset) -> bool:
    """Whether the person may put or remove it."""
    return fileset.owner_id == user.id or user.role == UserRole.ADMINISTRATOR


def remove(session: Session, user: User, fileset: Fileset) -> None:
    """Take a fileset out of use: its name is free at once, its copies are wanted to be removed.

    Raises Forbidden, or Conflict while it is mounted.
    """
    if not may_change(user, fileset):
        raise Forbidden(
            f"The fileset {fileset.name} is another person's.",
            field="fileset",
            remedy="Ask its owner or an operator.",
        )
    over = [state.value for state in InstanceState if state.is_over]
    using = session.scalar(
        select(Instance.id)
        .join(Mount, Mount.instance_id == Instance.id)
        .where(Mount.fileset_id == fileset.id, Instance.state.not_in(over))
        .limit(1)
    )
    if using is not None:
        raise Conflict(
            f"The fileset {fileset.name} is mounted into instance {using}.",
            field="fileset",
            remedy="Stop it first.",
        )
    fileset.removed_at = time.time()
    fileset.name = fileset.id
    for copy in fileset.copies:
        copy.wanted = REMOVED
    session.flush()
    _delete_when_gone(session, fileset)


def record_fileset_removed(session: Session, box: str, fileset_id: str) -> None:
    """A box reported that nothing of the fileset is left there; the last one takes its row with it."""
    copy = session.get(FilesetCopy, (fileset_id, box))
    if copy is None or copy.wanted != REMOVED:
        return
    fileset = copy.fileset
    fileset.copies.remove(copy)
    session.flush()
    _delete_when_gone(session, fileset)


def _delete_when_gone(session: Session, fileset: Fileset) -> None:
    mounted = session.scalar(select(Mount.instance_id).where(Mount.fileset_id == fileset.id).limit(1))
    if fileset.removed_at is not None and not fileset.copies and mounted is None:
        session.delete(fileset)
        session.flush()


def record_fileset_held(session: Session, box: str, report: FilesetHeld) -> None:
    """Take in that a version lies whole on a box which was let hold it; the newest such version counts."""
    fileset = session.get(Fileset, report.fileset)
    copy = session.get(FilesetCopy, (report.fileset, box))
    if copy is None and fileset is not None and _is_writing_home(fileset, box):
        copy = FilesetCopy(fileset_id=fileset.id, box_id=box, version=0, wanted=HELD, follows=False)
        session.add(copy)
    if fileset is None or copy is None or copy.wanted != HELD:
        log.warning("fileset report refused", box=box, fileset=report.fileset, error="it is not wanted there")
        return
    if not 0 < report.fileset_version <= fileset.offered_version:
        log.warning("fileset report refused", box=box, fileset=report.fileset, error="unknown version")
        return
    if copy.follows != (report.as_of is not None):
        log.warning(
            "fileset report refused", box=box, fileset=report.fileset, error="it is no copy of a home"
        )
        return
    copy.version = max(copy.version, report.fileset_version)
    if copy.follows:
        if (report.as_of or 0.0) >= (copy.copied_at or 0.0):
            copy.copied_at, copy.settled = report.as_of, report.settled
        session.flush()
        return
    if report.fileset_version >= fileset.version:
        fileset.version, fileset.size_bytes = report.fileset_version, report.size_bytes
    session.flush()


def _is_writing_home(fileset: Fileset, box: str) -> bool:
    """A home is made by the filestore that the master let write it, without a put."""
    return fileset.kind == FilesetKind.HOME and fileset.writer_box_id == box
