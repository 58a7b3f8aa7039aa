"""Wishes, derived from SQL alone, and written to the boxes' lists in Redis.

A wish can be derived again at any time: its version stands in SQL and grows in the transaction that changes it.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass

import redis
from kombu.exceptions import LimitExceeded, OperationalError
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.celery_app import send, send_all
from common.errors import Unauthorized
from common.images import BlobRef
from common.logs import get_logger
from common.names import converge_task, role_queue, wish_key
from common.signing import SealKey, Verifier, seal
from common.tickets import LayerTicket, issue
from common.wishes import (
    ComputeWish,
    ExportWish,
    HoldWish,
    ImageSource,
    LayersWish,
    MirrorWish,
    MountWish,
    OfferWish,
    Wish,
    read_wish,
    sign_wish,
    wish_field,
)
from common.words import Endpoint, InstanceState, MountMode, Role
from master.boxes.models import Box
from master.context import MasterContext
from master.deployments.models import Instance, Mount
from master.deployments.wanted import filled_service
from master.filesets.models import Fileset
from master.lifecycle.peers import others
from master.lifecycle.reads import Reads
from master.lifecycle.subjects import log_fields
from master.mirrors.models import Mirror
from master.mirrors.services import mirror_subject

log = get_logger(__name__)

UNWANTED = frozenset({InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.FAILED})


@dataclass(frozen=True)
class BoxWish:
    """A wish and the box it is for."""

    box: str
    wish: Wish


def mount_subject(mount: Mount) -> str:
    """The subject of an export: `<instance>.<fileset>`."""
    return f"{mount.instance_id}.{mount.fileset_id}"


def compute_wish(
    session: Session, context: MasterContext, instance: Instance, reads: Reads | None = None
) -> BoxWish:
    """What the instance's compute box is to do. The instance is placed. `reads` serve several wishes."""
    reads = reads or Reads(session, context)
    filled = filled_service(instance)
    assert instance.box_id is not None  # noqa: S101 - a placed instance has a box
    box = reads.box(instance.box_id)
    digest = instance.variant_digest or instance.image_digest
    mounts = [mount for mount in instance.mounts if mount.generation == instance.generation]
    stopped = InstanceState(instance.state) in UNWANTED or instance.deployment.wanted != "running"
    source = image_source(context, reads, digest, instance.depositories, box.id)
    wish = ComputeWish(
        subject=instance.id,
        generation=instance.generation,
        version=instance.wish_version,
        lease_end=instance.deployment.lease_end,
        wanted="stopped" if stopped else "running",
        instance=instance.id,
        deployment=instance.deployment_id,
        service=filled.spec,
        image=_with_peers(reads, instance, source),
        mounts=[mount_wish(mount) for mount in mounts],
        sealed=_sealed(context.seal_key, instance, filled.secrets, box),
        ended_shares=instance.deployment.ended_shares,
    )
    return BoxWish(box.id, wish)


def image_source(
    context: MasterContext,
    reads: Reads,
    digest: str,
    depositories: dict[str, list[str]],
    box: str,
    named: list[BlobRef] | None = None,
) -> ImageSource:
    """The image for one box: its blobs (or those named), who holds each, and a ticket to read them."""
    known = reads.statuses(_named(depositories))
    endpoints = {name: status.front for name, status in known.items() if status.front is not None}
    source = reads.source(digest, named)
    ticket = LayerTicket(
        expires_at=time.time() + context.settings.layer_ticket_s,
        box=box,
        blobs=frozenset(blob.digest for blob in source.blobs),
    )
    blobs = [
        blob.model_copy(
            update={"boxes": [name for name in depositories.get(blob.digest, ()) if name in endpoints]}
        )
        for blob in source.blobs
    ]
    return source.model_copy(
        update={"blobs": blobs, "endpoints": endpoints, "ticket": issue(context.signer, ticket)}
    )


def _with_peers(reads: Reads, instance: Instance, source: ImageSource) -> ImageSource:
    """The image's source with the boxes that fetch it too and say where they can be reached."""
    peers = others(instance, reads.fetching(instance.image_digest))
    if not peers:
        return source
    known = reads.statuses([peer.box for peer in peers])
    fronts = {box: status.front for box, status in known.items() if status.front is not None}
    return source.model_copy(update={"endpoints": {**source.endpoints, **fronts}, "fetching": sorted(fronts)})


def _named(depositories: dict[str, list[str]]) -> set[str]:
    return {name for names in depositories.values() for name in names}


def mount_wish(mount: Mount) -> MountWish:
    """The mount as the compute box sees it; without an endpoint it has to wait."""
    ready = mount.state == "exported" and mount.endpoint is not None
    return MountWish(
        fileset=mount.fileset_id,
        version=mount.fileset_version,
        target=mount.target,
        mode=MountMode(mount.mode),
        filestore=mount.box_id,
        endpoint=Endpoint.model_validate(mount.endpoint) if ready else None,
        host_key=mount.host_key if ready else None,
        public_keys=list(mount.public_keys) if ready else [],
    )


def _sealed(key: SealKey, instance: Instance, secrets: dict[str, str], box: Box) -> dict[str, str]:
    """Secret options, unsealed by the master and sealed again for the one box that needs them."""
    given = instance.deployment.sealed_options
    return {
        variable: seal(box.seal_key, key.unseal(given[option]))
        for variable, option in secrets.items()
        if option in given
    }


def export_wish(session: Session, mount: Mount) -> BoxWish:
    """What the filestore of a mount is to do."""
    fileset = session.get_one(Fileset, mount.fileset_id)
    wish = ExportWish(
        subject=mount_subject(mount),
        generation=mount.generation,
        version=mount.wish_version,
        lease_end=mount.instance.deployment.lease_end,
        wanted="ended" if mount.state in ("ending", "ended") else "exported",
        instance=mount.instance_id,
        compute=mount.compute_box_id,
        fileset=mount.fileset_id,
        fileset_version=mount.fileset_version,
        mode=MountMode(mount.mode),
        fence=mount.fence,
        public_keys=list(mount.public_keys),
        size_limit_bytes=fileset.size_limit_bytes,
    )
    return BoxWish(mount.box_id, wish)


def offer_wishes(instance: Instance, *, depositories: frozenset[str]) -> list[BoxWish]:
    """What the depositories of a placement are to keep until the instance runs."""
    wishes = []
    for box in sorted(_named(instance.depositories) & depositories):
        blobs = [digest for digest, boxes in instance.depositories.items() if box in boxes]
        offer = OfferWish(
            subject=instance.id,
            generation=instance.generation,
            version=1,
            lease_end=instance.deployment.lease_end,
            wanted="offered",
            blobs=blobs,
        )
        wishes.append(BoxWish(box, offer))
    return wishes


def depository_boxes(session: Session) -> frozenset[str]:
    """Boxes with the depository role."""
    rows = session.execute(select(Box.id, Box.roles))
    return frozenset(box for box, roles in rows if Role.DEPOSITORY.value in roles)


def mirror_wish(mirror: Mirror) -> BoxWish:
    """What a depository is to fetch from elsewhere."""
    wish = MirrorWish(
        subject=mirror_subject(mirror),
        generation=0,
        version=1,
        wanted="mirrored",
        source=mirror.source,
        repository=mirror.repository,
        architectures=mirror.architectures,
        sealed=mirror.sealed,
        ca=mirror.ca,
    )
    return BoxWish(mirror.box_id, wish)


class WishWriter:
    """Writes wishes to Redis and wakes the boxes. Called after the commit that they follow from."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context

    def write(self, *wishes: BoxWish) -> None:
        """Put wishes on the lists and send the tasks; what fails is left to the reconciler."""
        signed = [(item, token) for item in wishes if (token := self._signed(item)) is not None]
        if not signed:
            return
        try:
            pipe = self._context.redis.pipeline(transaction=False)
            for item, token in signed:
                pipe.hset(wish_key(item.box), wish_field(item.wish.role, item.wish.subject), token)
            pipe.execute()
            # Orders about layers are also for boxes that consume no depository's queue: they read their list.
            send_all(
                self._context.celery,
                [_task(item) for item, _ in signed if not isinstance(item.wish, LayersWish)],
            )
        except (redis.RedisError, OperationalError, LimitExceeded) as error:
            for item in wishes:
                fields = log_fields(item.wish.subject, item.wish.generation)
                log.warning("wish not written", box=item.box, error=str(error), **fields)

    def _signed(self, item: BoxWish) -> str | None:
        """The wish as a token; none, with a line in the log, for one that cannot be written down: the others
        must not wait for it."""
        try:
            return sign_wish(self._context.signer, item.box, item.wish)
        except ValueError as error:
            fields = log_fields(item.wish.subject, item.wish.generation)
            log.error("wish not written", box=item.box, error=str(error), **fields)
            return None

    def wake(self, box: str, role: Role, subject: str, generation: int) -> None:
        """Tell a box to look at one subject now."""
        send(self._context.celery, converge_task(role), role_queue(role, box), subject, generation)

    def drop(self, box: str, role: Role, subject: str) -> None:
        """Take a wish off the list: the box undoes what may be left of it."""
        try:
            self._context.redis.hdel(wish_key(box), wish_field(role.value, subject))
        except redis.RedisError as error:
            log.warning("wish not dropped", box=box, error=str(error), **log_fields(subject))

    def sources_of_hold(self, box: str, subject: str) -> set[str]:
        """The boxes that a depository's wish to hold an image names as sources now; none if it has no such wish."""
        token = self._context.redis.hget(wish_key(box), wish_field(Role.DEPOSITORY.value, subject))
        if token is None:
            return set()
        try:
            wish = read_wish(Verifier(self._context.signer.public_key), box, str(token))
        except Unauthorized as error:
            log.warning("wish not read", box=box, subject=subject, error=str(error))
            return set()
        return set(wish.image.endpoints) if isinstance(wish, HoldWish) else set()

    def listed(self, box: str) -> dict[str, tuple[int, int]]:
        """What is on a box's list: field → (generation, version)."""
        fields = self._context.redis.hgetall(wish_key(box))
        return {str(field): _order(str(token)) for field, token in fields.items()}


def _task(item: BoxWish) -> tuple[str, str, tuple[str, int]]:
    """What wakes a box for a wish."""
    role = Role(item.wish.role)
    return converge_task(role), role_queue(role, item.box), (item.wish.subject, item.wish.generation)


def _order(token: str) -> tuple[int, int]:
    """Generation and version in a token that this master signed; (-1, -1) for one that nobody can read."""
    try:
        payload = token.split(".")[0]
        value = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(value["generation"]), int(value["version"])
    except (ValueError, KeyError):
        return (-1, -1)
