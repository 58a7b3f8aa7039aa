"""What an instance wants, read back from its deployment's manifest and options."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.service import ServiceSpec
from common.words import Coordinate, MountMode
from master.catalogue.manifest import FilledService, Manifest, fill
from master.deployments.models import Deployment, Instance, Mount
from master.filesets.models import Fileset, FilesetKind
from master.filesets.services import find, holders, home_of
from master.images.models import Image
from master.images.services import blobs_of
from master.images.variants import variants_of
from master.nearness.people import Near
from master.scheduling.request import FilesetNeed, Layer, PlacementRequest, Variant


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
    manifest = Manifest.model_validate(deployment.manifest)
    return fill(manifest, deployment.options)[instance.service]


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


def placement_request(session: Session, instance: Instance, want: Wanted) -> PlacementRequest:
    """The pure request that policies see. A person of whom nobody knows where he is stands nowhere."""
    near = near_of(instance.deployment)
    return PlacementRequest(
        resources=want.spec.resources,
        variants=tuple(_variant(image) for image in variants_of(session, want.image)),
        filesets=tuple(_need(session, instance, mount) for mount in want.mounts),
        near=near.coordinate or Coordinate(),
        measured=near.round_trips_ms,
        excluded=frozenset(instance.excluded),
    )


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


def _need(session: Session, instance: Instance, mount: WantedMount) -> FilesetNeed:
    fileset = mount.fileset
    is_home = fileset.kind == FilesetKind.HOME.value
    return FilesetNeed(
        fileset=fileset.id,
        version=fileset.version,
        mode=mount.mode,
        name=fileset.name,
        held_by=_written_on(fileset) if is_home else tuple(holders(fileset)) or None,
        room_bytes=fileset.size_limit_bytes or 0,
        writer=active_writer(session, fileset, besides=instance.id)
        if mount.mode is MountMode.READ_WRITE
        else None,
    )


def _written_on(home: Fileset) -> tuple[str, ...]:
    """The filestores of a home itself; nobody is let into a copy that follows it."""
    return tuple(copy.box_id for copy in home.copies if not copy.follows)


def active_writer(session: Session, fileset: Fileset, *, besides: str) -> str | None:
    """The compute box on which another instance may write this fileset now."""
    statement = (
        select(Mount.compute_box_id)
        .where(
            Mount.fileset_id == fileset.id,
            Mount.mode == MountMode.READ_WRITE.value,
            Mount.state != "ended",
            Mount.instance_id != besides,
        )
        .limit(1)
    )
    return session.scalar(statement)
