"""Mirrors: one depository fetches an image from elsewhere, and then it is an image like any other.

Name and password for the registry are sealed for that box before they are written down, so that neither the database
nor Redis nor a log ever has them, and they are forgotten when the fetch is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import BadInput, NotFound, Unavailable
from common.logs import get_logger
from common.oci.remote import parse_remote
from common.reports import Failed, Mirrored, MirrorProgress
from common.signing import seal
from common.status import BoxStatus
from common.words import Role, is_digest, new_id
from master.accounts.models import User
from master.boxes.models import Box
from master.boxes.services import statuses
from master.context import MasterContext
from master.images.services import NewTag, set_tag
from master.mirrors.models import Mirror

log = get_logger(__name__)

FETCHING, DONE, FAILED = "fetching", "done", "failed"
PREFIX = "mirror."


@dataclass(frozen=True)
class Wanted:
    """What is asked for. Without `name` it is called as it is there; without `architectures`, as the fleet needs."""

    source: str
    name: str | None = None
    architectures: Sequence[str] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    box: str | None = None
    ca: str | None = None


def mirror_subject(mirror: Mirror) -> str:
    """The subject of its wish."""
    return PREFIX + mirror.id


def request_mirror(session: Session, context: MasterContext, user: User, wanted: Wanted) -> Mirror:
    """Write down what a depository is to fetch. Raises BadInput, Unavailable without a depository."""
    remote = parse_remote(wanted.source)
    _check_authority(wanted.ca)
    repository, tag = _name(wanted, remote.short_name, remote.reference)
    known = statuses(context.redis)
    box = _choose(session, known, wanted.box)
    sealed = None
    if wanted.username or wanted.password:
        sealed = seal(box.seal_key, json.dumps([wanted.username, wanted.password]))
    mirror = Mirror(
        id=new_id("m"),
        source=str(remote),
        repository=repository,
        tag=tag,
        architectures=list(wanted.architectures) or _fleets_architectures(known),
        box_id=box.id,
        user_id=user.id,
        sealed=sealed,
        ca=wanted.ca,
        state=FETCHING,
    )
    session.add(mirror)
    session.flush()
    return mirror


def _check_authority(ca: str | None) -> None:
    if ca is None:
        return
    try:
        x509.load_pem_x509_certificates(ca.encode())
    except ValueError as error:
        raise BadInput(
            "These are no certificates.",
            field="ca",
            remedy="Give the authority's certificate in PEM.",
        ) from error


def _name(wanted: Wanted, repository: str, reference: str) -> tuple[str, str]:
    if wanted.name is not None:
        repository, colon, tag = wanted.name.partition(":")
        return repository, tag if colon else "latest"
    if is_digest(reference):
        raise BadInput("An image that is named by its digest needs a name here.", field="name")
    if len(repository) > 128:
        raise BadInput(
            f"{repository} is too long for a name here.", field="name", remedy="Give a shorter one."
        )
    return repository, reference


def _choose(session: Session, known: dict[str, BoxStatus], name: str | None) -> Box:
    """The depository named, else the fixed one with most room; one that closed itself for lack of it comes last."""
    able = {box: status for box, status in known.items() if Role.DEPOSITORY in status.roles}
    if name is not None:
        if name not in able:
            raise Unavailable(
                f"{name} is not a depository that is up.", field="box", remedy="See openraas box list."
            )
        return session.get_one(Box, name)
    cordoned = set(session.scalars(select(Box.id).where(Box.cordoned)))
    ordered = sorted(
        (status for box, status in able.items() if box not in cordoned),
        key=lambda status: (bool(status.alert), not status.fixed, -status.disk.free_bytes, status.box),
    )
    if not ordered:
        raise Unavailable("No depository is up.", remedy="Join one: openraas box join MASTER TOKEN.")
    return session.get_one(Box, ordered[0].box)


def _fleets_architectures(known: dict[str, BoxStatus]) -> list[str]:
    return sorted({status.architecture for status in known.values() if Role.COMPUTE in status.roles})


def find_mirror(session: Session, mirror_id: str) -> Mirror:
    """Raises NotFound."""
    found = session.get(Mirror, mirror_id)
    if found is None:
        raise NotFound(f"There is no mirror {mirror_id}.", field="id", remedy="See GET /api/v1/mirrors.")
    return found


def list_mirrors(session: Session, limit: int = 100) -> list[Mirror]:
    """The newest first."""
    return list(session.scalars(select(Mirror).order_by(Mirror.created_at.desc(), Mirror.id).limit(limit)))


def end_mirror(session: Session, mirror: Mirror, state: str, error: str | None = None) -> None:
    """It is over: the credentials go, the reason stays."""
    if mirror.state != FETCHING:
        return
    mirror.state, mirror.error, mirror.sealed = state, error, None
    mirror.changed_at = time.time()
    session.flush()


def fail_mirrors_of(session: Session, box: str) -> None:
    """A box is lost, and what it was fetching with it."""
    for mirror in session.scalars(select(Mirror).where(Mirror.box_id == box, Mirror.state == FETCHING)):
        end_mirror(session, mirror, FAILED, f"Box {box}, which fetched it, is lost. Ask again.")


def mirror_of_report(session: Session, box: str, subject: str) -> Mirror | None:
    """The mirror that a box may report of: its own, and only while it is under way."""
    if not subject.startswith(PREFIX):
        return None
    mirror = session.get(Mirror, subject.removeprefix(PREFIX))
    return mirror if mirror and mirror.box_id == box and mirror.state == FETCHING else None


def record_progress(mirror: Mirror, report: MirrorProgress) -> None:
    """How far it came."""
    mirror.size_bytes, mirror.done_bytes = report.size_bytes, report.done_bytes
    mirror.changed_at = time.time()


def record_mirrored(session: Session, mirror: Mirror, report: Mirrored) -> None:
    """All of it lies on the box: from now on its tag names it."""
    remote = parse_remote(mirror.source)
    if is_digest(remote.reference) and report.image.digest != remote.reference:
        end_mirror(session, mirror, FAILED, f"Box {mirror.box_id} fetched another image than was asked for.")
        return
    new = NewTag(repository=mirror.repository, tag=mirror.tag, **report.image.model_dump())
    owner = session.get(User, mirror.user_id) if mirror.user_id else None
    try:
        image = set_tag(session, new, box=mirror.box_id, owner=owner)
    except BadInput as error:
        log.warning("mirrored image refused", mirror=mirror.id, error=str(error))
        end_mirror(session, mirror, FAILED, str(error)[:1000])
        return
    mirror.digest = image.digest
    mirror.size_bytes = mirror.done_bytes = image.size_bytes
    end_mirror(session, mirror, DONE)


def record_mirror_failed(session: Session, mirror: Mirror, report: Failed) -> None:
    """The box cannot; what it fetched so far stays for a while, so that the next try goes on from there."""
    end_mirror(session, mirror, FAILED, report.message)
