"""What an instance wants, read back from its deployment's manifest and options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.service import ServiceSpec
from common.warm import warm_subject
from common.words import MountMode
from master.catalogue.manifest import FilledService, Manifest, fill
from master.deployments.models import Deployment, Instance, Mount
from master.deployments.neighbours import beside_and_apart, spread_of
from master.filesets.models import Fileset, FilesetKind
from master.filesets.services import find, holders, home_of
from master.images.models import Image
from master.images.services import blobs_of
from master.images.variants import variants_of
from master.lifecycle.states import OVER
from master.nearness.people import Near
from master.scheduling.request import FilesetNeed, Layer, Place, PlacementRequest, Variant

# So many different applications with options are kept filled in.
REMEMBERED = 512


@dataclass(frozen=True)
class WantedMount:
    """A fileset at a place in the container."""

    fileset: Fileset
    target: str
    mode: MountMode


@dataclass(frozen=True)
class Wanted:
    """Everything the scheduler and the wish list need to know of an instance."""

    filled: FilledService
    image: Image
    mounts: tuple[WantedMount, ...]

    @property
    def spec(self) -> ServiceSpec:
        """The service with its options filled in."""
        return self.filled.spec


def filled_service(instance: Instance) -> FilledService:
    """The instance's service, with the options that the person chose."""
    deployment = instance.deployment
    return _filled(json.dumps(deployment.manifest), json.dumps(deployment.options))[instance.service]


@lru_cache(maxsize=REMEMBERED)
def _filled(manifest: str, options: str) -> dict[str, FilledService]:
    """A classroom asks for the same thing many times, and all that runs is looked at every few seconds."""
    return fill(Manifest.model_validate(json.loads(manifest)), json.loads(options))


def wanted(session: Session, instance: Instance, *, home_limit_bytes: int) -> Wanted:
    """Raises NotFound for a fileset that is gone. Makes the row of a home that is not there yet."""
    filled = filled_service(instance)
    user = instance.deployment.user
    mounts = [
        WantedMount(find(session, item.name, user), item.target, MountMode.READ_ONLY)
        for item in filled.filesets
    ]
    if filled.home:
        home = home_of(session, user, home_limit_bytes)
        mounts.append(WantedMount(home, filled.home, MountMode.READ_WRITE))
    return Wanted(filled, session.get_one(Image, instance.image_digest), tuple(mounts))


def placement_request(
    session: Session, instance: Instance, want: Wanted, variants: tuple[Variant, ...]
) -> PlacementRequest:
    """The pure request that policies see; `variants` are those of its image.

    A person of whom nobody knows where he is stands nowhere.
    """
    rules = want.filled.placement
    beside, apart = beside_and_apart(session, instance, rules)
    near = near_of(instance.deployment)
    return PlacementRequest(
        resources=want.spec.resources,
        variants=variants,
        filesets=tuple(fileset_need(session, mount, besides=instance.id) for mount in want.mounts),
        near=Place.of(near.coordinate) if near.coordinate is not None else Place(),
        measured=near.round_trips_ms,
        excluded=frozenset(instance.excluded),
        boxes=frozenset(rules.boxes),
        labels=tuple(sorted(rules.labels.items())),
        beside=beside,
        apart=apart,
        spread=spread_of(session, instance, rules),
        warm=_warm(instance, want),
    )


def _warm(instance: Instance, want: Wanted) -> str:
    """Under which name instances may wait that are as this one would be."""
    deployment = instance.deployment
    if want.spec.prewarm is None or deployment.application_id is None:
        return ""
    return warm_subject(deployment.application_id)


def image_variants(session: Session, image: Image) -> tuple[Variant, ...]:
    """What can be run of an image, as policies see it."""
    return tuple(_variant(item) for item in variants_of(session, image))


def near_of(deployment: Deployment) -> Near:
    """Where the person was who asked for it, and what was measured then."""
    return Near.model_validate(deployment.near) if deployment.near else Near()


def _variant(image: Image) -> Variant:
    blobs = blobs_of(image)
    return Variant(
        image=image.digest,
        architecture=image.architecture,
        layers=tuple(Layer(blob.digest, blob.size_bytes) for blob in blobs),
        zstd=any(blob.is_zstd for blob in blobs),
    )


def fileset_need(session: Session, mount: WantedMount, *, besides: str = "") -> FilesetNeed:
    """A mount as policies see it; whoever writes there `besides` this instance binds it to a box."""
    fileset = mount.fileset
    is_home = fileset.kind == FilesetKind.HOME.value
    return FilesetNeed(
        fileset=fileset.id,
        version=fileset.version,
        mode=mount.mode,
        name=fileset.name,
        held_by=_written_on(fileset) if is_home else tuple(holders(fileset)) or None,
        room_bytes=fileset.size_limit_bytes or 0,
        writer=active_writer(session, fileset, besides=besides)
        if mount.mode is MountMode.READ_WRITE
        else None,
    )


def _written_on(home: Fileset) -> tuple[str, ...]:
    """The filestores of a home itself; nobody is let into a copy that follows it."""
    return tuple(copy.box_id for copy in home.copies if not copy.follows)


def active_writer(session: Session, fileset: Fileset, *, besides: str) -> str | None:
    """The compute box on which another instance may write this fileset now.

    One that is over writes no more, also while its filestore has yet to say that the session ended: the next
    writer's fence is higher, and it is launched only once the filestore has shut out all below.
    """
    is_over = Instance.state.in_([state.value for state in OVER]) & (Mount.generation == Instance.generation)
    statement = (
        select(Mount.compute_box_id)
        .join(Instance, Instance.id == Mount.instance_id)
        .where(
            ~is_over,
            Mount.fileset_id == fileset.id,
            Mount.mode == MountMode.READ_WRITE.value,
            Mount.state != "ended",
            Mount.instance_id != besides,
        )
        .limit(1)
    )
    return session.scalar(statement)
