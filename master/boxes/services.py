"""Boxes: how they join, what they say of themselves, and how they leave."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable, Sequence

import redis
from pydantic import ValidationError
from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from common.addresses import is_everywhere, is_loopback
from common.errors import BadInput, Conflict, Forbidden, NotFound, TooMany, Unauthorized, Unavailable
from common.join import JoinAnswer, JoinRequest, JoinToken
from common.logs import get_logger
from common.names import (
    BOXES,
    certificate_key,
    layers_key,
    peers_key,
    report_queue,
    role_queue,
    samples_key,
    spare_key,
    status_key,
    timers_key,
    transfers_key,
    wish_key,
)
from common.settings import Settings
from common.status import BoxStatus
from common.words import Endpoint, InstanceState, Role
from master.accounts.models import User, UserRole
from master.audit.services import record
from master.boxes import redis_users
from master.boxes.authority import Authority
from master.boxes.models import Box, JoinSecret
from master.context import MasterContext, redis_url
from master.db.session import after_commit
from master.deployments.models import Instance, Mount
from master.filesets.loss import homes_lost
from master.filesets.models import Fileset, FilesetCopy
from master.images.models import ImageHolding
from master.layers.models import LayerOrder
from master.mirrors.models import Mirror
from master.scheduler.changes import tell
from master.trust.authorities import Authorities

log = get_logger(__name__)

_HOST = re.compile(
    r"^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
)


def statuses(client: redis.Redis) -> dict[str, BoxStatus]:
    """What every box that is up says of itself, by id. Raises redis.RedisError."""
    return statuses_of(client, (str(box) for box in client.smembers(BOXES)))


def statuses_of(client: redis.Redis, names: Iterable[str]) -> dict[str, BoxStatus]:
    """What those of these boxes that are up say of themselves. Raises redis.RedisError."""
    boxes = sorted(set(names))
    if not boxes:
        return {}
    found: dict[str, BoxStatus] = {}
    for box, text in zip(boxes, client.mget([status_key(box) for box in boxes]), strict=True):
        if (status := read_status(box, text)) is not None:
            found[box] = status
    return found


def read_status(box: str, text: str | bytes | None) -> BoxStatus | None:
    """What stands under a box's key; none if nothing does, or nothing that this box could have written."""
    if text is None:
        return None
    try:
        status = BoxStatus.read(text)
    except ValidationError as error:
        log.warning("status refused", box=box, errors=error.error_count())
        return None
    if status.box != box:
        log.warning("status refused", box=box, error="it names another box")
        return None
    return status


# Tokens of a plain person that may be open at once.
MOST_OPEN_TOKENS = 5


def check_may_add(settings: Settings, user: User) -> None:
    """Raises Forbidden where only operators add boxes."""
    if user.role == UserRole.USER and not settings.people_add_boxes:
        raise Forbidden("Only operators add boxes here.", remedy="Ask one for a join token.")


def make_token(session: Session, authority: Authority, user: User | None, ttl_s: float) -> JoinToken:
    """A token with which one box may join within `ttl_s` seconds; it belongs to `user`, or to whom it names.

    Only the hash of its secret is kept. Raises TooMany for a person with several that nobody used.
    """
    secret = secrets.token_urlsafe(32)
    now = time.time()
    session.execute(delete(JoinSecret).where(JoinSecret.expires_at < now))
    if user is not None and user.role == UserRole.USER:
        unused = (JoinSecret.created_by == user.id, JoinSecret.used_by_box.is_(None))
        count = session.scalar(select(func.count()).select_from(JoinSecret).where(*unused)) or 0
        if count >= MOST_OPEN_TOKENS:
            raise TooMany(
                f"{count} of your join tokens are unused.", remedy="Use one, or wait until they expire."
            )
    session.add(
        JoinSecret(secret_hash=_hash(secret), created_by=user.id if user else None, expires_at=now + ttl_s)
    )
    session.flush()
    record(session, "box.make-join-token", f"person:{user.name}" if user else "", after={"ttl_s": ttl_s})
    return JoinToken(fingerprint=authority.fingerprint, secret=secret)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def join(context: MasterContext, request: JoinRequest, *, reached_at: str = "") -> JoinAnswer:
    """Admit a box: its row, its certificate and its Redis user. The token is used up only if all that works.

    `reached_at` is the host under which the box reached the master. Raises Unauthorized for a token that
    does not hold, Conflict for an id that is another owner's, BadInput, or Unavailable without Redis.
    """
    address = _check_address(request.address)
    settings = context.settings
    authorities = Authorities.load(context.paths)
    password = redis_users.new_password()
    with context.database.write() as session:
        maker_id = _use_secret(session, request.secret, request.box)
        owner_id = maker_id if request.owner is None else _person(session, request.owner).id
        _check_own(session, maker_id, owner_id, request.roles)
        certificate = authorities.issuing(time.time()).sign_box(
            request.certificate_request, request.box, address, settings.applications_domain, request.roles
        )
        box = _row(session, request, owner_id)
        box.address, box.certificate = address, certificate
        box.redis_password_hash = redis_users.hash_password(password)
        session.flush()
        joined = {"roles": box.roles, "address": address, "open": box.open, "fixed": box.fixed}
        record(session, "box.join", subject_of(box), after=joined)
        try:
            redis_users.admit(context.redis, request.box, box.redis_password_hash)
        except redis.RedisError as error:
            raise Unavailable("Redis does not answer, so no box can join.", remedy="Try again.") from error
    log.info("box joined", box=request.box, address=address, roles=sorted(request.roles))
    host = reached_at if is_everywhere(settings.listen) else settings.listen
    return JoinAnswer(
        box=request.box,
        certificate=certificate,
        authority=authorities.trusted_pem,
        master_key=context.signer.public_key,
        master=Endpoint(host=host, port=settings.web_port, tls=not is_loopback(host)),
        redis_url=redis_users.url_for_box(
            settings, redis_url(settings), request.box, password, reached_at=reached_at
        ),
        applications_domain=settings.applications_domain,
    )


def _use_secret(session: Session, secret: str, box: str) -> str | None:
    """Mark the secret as used, once, whoever else tries at the same time; returns who made it."""
    key = _hash(secret)
    result = session.execute(
        update(JoinSecret)
        .where(
            JoinSecret.secret_hash == key,
            JoinSecret.used_by_box.is_(None),
            JoinSecret.expires_at > time.time(),
        )
        .values(used_by_box=box)
    )
    assert isinstance(result, CursorResult)  # noqa: S101 - what SQLAlchemy returns for an UPDATE
    if result.rowcount != 1:
        raise Unauthorized(
            "This join token is unknown, was used already, or has expired.",
            field="secret",
            remedy="Ask the operator for a new one: openraas box token.",
        )
    return session.get_one(JoinSecret, key).created_by


def _check_own(session: Session, maker_id: str | None, owner_id: str | None, roles: frozenset[Role]) -> None:
    """A plain person's token adds that person's own machine, and none that would keep other people's homes."""
    maker = session.get(User, maker_id) if maker_id else None
    if maker is not None and not maker.active:
        raise Forbidden(
            f"{maker.name}, who made this join token, may not sign in any more.",
            field="secret",
            remedy="Ask an operator for a new one: openraas box token.",
        )
    if maker is None or maker.role != UserRole.USER:
        return
    if Role.FILESTORE in roles:
        raise Forbidden(
            "Whoever owns a filestore can read what people keep there, so only operators add one.",
            field="roles",
            remedy="Join with --roles compute,depository, or ask an operator for a token.",
        )
    if owner_id != maker_id:
        raise Forbidden(
            f"The token was made by {maker.name}, for a machine of {maker.name}'s own.",
            field="owner",
            remedy="Leave --owner out, or ask an operator for a token.",
        )


def _person(session: Session, name: str) -> User:
    found = session.scalar(select(User).where(User.name == name))
    if found is None:
        raise BadInput(
            f"There is no user {name} whose box this could be.",
            field="owner",
            remedy="Give the name of a person who may sign in here, or leave --owner out.",
        )
    return found


def _row(session: Session, request: JoinRequest, owner_id: str | None) -> Box:
    box = session.get(Box, request.box)
    if box is None:
        box = Box(id=request.box, seal_key="", certificate="", address="")
        session.add(box)
    elif box.removed_at is None and box.owner_id != owner_id:
        raise Conflict(
            f"There is a box {request.box} of another owner.",
            field="box",
            remedy="Join under another name, or remove that box first.",
        )
    box.owner_id = owner_id
    box.kind = request.kind.value
    box.roles = sorted(role.value for role in request.roles)
    box.open, box.fixed = request.open, request.fixed
    box.seal_key = request.seal_key
    box.joined_at = time.time()
    box.lost_at = box.removed_at = None
    return box


def _check_address(address: str) -> str:
    text = address.strip().strip("[]").lower()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.match(text):
            return text
    raise BadInput(
        f"{address!r} is neither an IP address nor a host name.",
        field="address",
        remedy="Give the one under which other boxes reach this machine.",
    )


def restore(session: Session, client: redis.Redis) -> None:
    """List every box in Redis, with its user, after Redis lost its data. Raises redis.RedisError."""
    for box in list_boxes(session):
        client.sadd(BOXES, box.id)
        if box.redis_password_hash:
            redis_users.admit(client, box.id, box.redis_password_hash)


def list_boxes(session: Session) -> Sequence[Box]:
    """All boxes that have joined, by id."""
    return session.scalars(select(Box).where(Box.removed_at.is_(None)).order_by(Box.id)).all()


def find(session: Session, box: str) -> Box:
    """The box; raises NotFound that names it."""
    found = session.get(Box, box)
    if found is None or found.removed_at is not None:
        raise NotFound(f"There is no box {box}.", field="box", remedy="See openraas box list.")
    return found


def check_may_change(user: User, box: Box) -> None:
    """Raises Forbidden unless the person owns the box or operates the platform."""
    if box.owner_id != user.id and user.role == UserRole.USER:
        raise Forbidden(
            f"The box {box.id} is another person's.", field="box", remedy="Ask its owner or an operator."
        )


def cordon(session: Session, client: redis.Redis, box: Box, cordoned: bool) -> None:
    """Let a box take no new placements, or take them again."""
    if box.cordoned != cordoned:
        told = {"cordoned": box.cordoned}, {"cordoned": cordoned}
        record(session, "box.cordon", subject_of(box), before=told[0], after=told[1])
    box.cordoned = cordoned
    session.flush()
    name = box.id

    def announce() -> None:
        try:
            tell(client, [name])
        except redis.RedisError as error:
            log.warning("schedulers not told, they will see it later", box=name, error=str(error))

    after_commit(session, announce)


def remove(session: Session, client: redis.Redis, box: Box, *, force: bool = False) -> None:
    """Let a box go: its Redis user, its keys and what it held. Its row stays for history.

    Raises Conflict while an instance needs it, or, without `force`, while it alone holds a fileset.
    """
    if (using := _needed_by(session, box.id)) is not None:
        raise Conflict(f"Instance {using} needs box {box.id}.", field="box", remedy="Stop it first.")
    if not force and (name := _only_copy(session, box.id)) is not None:
        raise Conflict(
            f"Box {box.id} has the only copy of the fileset {name}.",
            field="box",
            remedy="Get or remove the fileset first, or remove the box with --force.",
        )
    session.execute(delete(ImageHolding).where(ImageHolding.box_id == box.id))
    session.execute(delete(LayerOrder).where(LayerOrder.box_id == box.id))
    error = f"Box {box.id}, which fetched it, was removed. Ask again."
    session.execute(
        update(Mirror)
        .where(Mirror.box_id == box.id, Mirror.state == "fetching")
        .values(state="failed", error=error, sealed=None, changed_at=time.time())
    )
    homes_lost(session, box.id)
    session.execute(delete(FilesetCopy).where(FilesetCopy.box_id == box.id))
    session.execute(update(Fileset).where(Fileset.writer_box_id == box.id).values(writer_box_id=None))
    box.removed_at = time.time()
    box.redis_password_hash = ""
    record(session, "box.remove", subject_of(box), before={"roles": box.roles, "address": box.address})
    session.flush()
    try:
        redis_users.dismiss(client, box.id)
        queues = [role_queue(role, box.id) for role in Role]
        keys = [
            make(box.id)
            for make in (
                status_key,
                layers_key,
                timers_key,
                transfers_key,
                spare_key,
                peers_key,
                samples_key,
                certificate_key,
                wish_key,
                report_queue,
            )
        ]
        client.delete(*keys, *queues)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer, so the box stays.", remedy="Try again.") from error


def subject_of(box: Box) -> str:
    """How the audit log names a box."""
    return f"box:{box.id}"


def _needed_by(session: Session, box: str) -> str | None:
    over = [state.value for state in InstanceState if state.is_over]
    return session.scalar(
        select(Instance.id)
        .join(Mount, Mount.instance_id == Instance.id, isouter=True)
        .where(Instance.state.not_in(over), (Instance.box_id == box) | (Mount.box_id == box))
        .limit(1)
    )


def _only_copy(session: Session, box: str) -> str | None:
    # The copy of a home is behind by some minutes: only somebody who says so gives up the home itself.
    elsewhere = select(FilesetCopy.fileset_id).where(
        FilesetCopy.box_id != box, FilesetCopy.version > 0, FilesetCopy.follows.is_(False)
    )
    return session.scalar(
        select(Fileset.name)
        .join(FilesetCopy, FilesetCopy.fileset_id == Fileset.id)
        .where(
            FilesetCopy.box_id == box,
            FilesetCopy.version > 0,
            FilesetCopy.follows.is_(False),
            Fileset.removed_at.is_(None),
            Fileset.id.not_in(elsewhere),
        )
        .limit(1)
    )
