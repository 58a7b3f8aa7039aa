"""Links to files and folders: made, listed, opened by whoever has one, and taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from common.errors import BadInput, NotFound, TooMany
from common.words import new_id
from master.accounts.models import User
from master.accounts.passwords import new_token, token_hash
from master.audit.services import record
from master.context import MasterContext
from master.files.models import FileShare, ShareKind
from master.files.services import Desk, Right, place_of, ticket_for

MOST_SHARES = 200
MOST_TTL_S = 366 * 86400.0
# A link that was taken back goes on for so long where it is open.
TICKET_S = 600.0
_RIGHTS: dict[ShareKind, tuple[Right, ...]] = {ShareKind.READ: ("read",), ShareKind.ADD: ("add",)}


@dataclass(frozen=True)
class Shared:
    """What a link opens."""

    path: str
    kind: ShareKind
    owner: str
    expires_at: float
    desk: Desk


def make_share(
    session: Session, user: User, path: str, kind: ShareKind, ttl_s: float
) -> tuple[FileShare, str]:
    """A link, and its secret half, which is shown once. Raises BadInput, or TooMany."""
    if not 60 <= ttl_s <= MOST_TTL_S:
        raise BadInput("A link holds from a minute to a year.", field="ttl_s")
    now = time.time()
    session.execute(delete(FileShare).where(FileShare.user_id == user.id, FileShare.expires_at < now))
    count = (
        session.scalar(select(func.count()).select_from(FileShare).where(FileShare.user_id == user.id)) or 0
    )
    if count >= MOST_SHARES:
        raise TooMany(f"You have {count} links.", remedy="Take back those that nobody needs.")
    secret = new_token("")
    share = FileShare(
        id=new_id("s"),
        secret_hash=token_hash(secret),
        user_id=user.id,
        path=path.strip("/"),
        may=kind.value,
        expires_at=now + ttl_s,
    )
    session.add(share)
    session.flush()
    record(session, "files.share", f"link:{share.id}", after=_shown(share))
    return share, secret


def list_shares(session: Session, user: User) -> Sequence[FileShare]:
    """The person's links that hold, the newest first."""
    query = select(FileShare).where(FileShare.user_id == user.id, FileShare.expires_at > time.time())
    return session.scalars(query.order_by(FileShare.created_at.desc())).all()


def end_share(session: Session, user: User, share_id: str) -> None:
    """Take a link back; who has a ticket by it loses it within ten minutes. Raises NotFound."""
    share = session.get(FileShare, share_id)
    if share is None or share.user_id != user.id:
        raise NotFound(
            f"You have no link {share_id}.", field="share", remedy="The page of your files lists them."
        )
    record(session, "files.unshare", f"link:{share.id}", before=_shown(share))
    session.delete(share)


def _shown(share: FileShare) -> dict[str, str | float]:
    return {"path": share.path, "kind": share.may, "expires_at": share.expires_at}


def open_share(context: MasterContext, secret: str, *, portal: str = "") -> Shared:
    """What the link opens now. Raises NotFound for one that is unknown, has expired or was taken back."""
    with context.database.read() as session:
        share = session.scalar(select(FileShare).where(FileShare.secret_hash == token_hash(secret)))
        if share is None or share.expires_at < time.time() or not share.user.active:
            raise NotFound(
                "This link does not hold any more.", remedy="Ask whoever gave it to you for a new one."
            )
        user, kind = share.user, ShareKind(share.may)
    place = place_of(context, user)
    ticket = ticket_for(
        context,
        place,
        user,
        _RIGHTS[kind],
        root=share.path,
        portal=portal,
        expires_at=min(share.expires_at, time.time() + TICKET_S),
    )
    return Shared(share.path, kind, user.name, share.expires_at, Desk(context, place, ticket))
