"""From rows of the queue to what policies see: the requests of a whole batch, read in few queries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from common.errors import NotFound
from common.logs import get_logger
from common.words import InstanceState, Resources
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.events import set_state
from master.deployments.models import Deployment, Instance
from master.deployments.wanted import Wanted, image_variants, placement_request, wanted
from master.filesets.models import Fileset, FilesetKind
from master.filesets.services import home_of
from master.lifecycle.states import WAITING
from master.scheduler.queue import Queued
from master.scheduling.request import PlacementRequest, Variant

log = get_logger(__name__)

# What says which box is the best of those that fit decides nothing about whether there is one.
_PREFERENCES = {"near", "measured", "spread", "input_bytes", "warm"}
_DECISIVE = [field.name for field in fields(PlacementRequest) if field.name not in _PREFERENCES]


@dataclass(frozen=True)
class Ask:
    """One instance that waits, and what it wants of the fleet. `lease_s` is how long it may run."""

    queued: Queued
    want: Wanted
    request: PlacementRequest
    lease_s: float

    @property
    def instance(self) -> str:
        """Its id."""
        return self.queued.instance

    @property
    def ends_by(self) -> float:
        """When it ends at the latest, if it begins now."""
        return time.time() + self.lease_s

    @property
    def amounts(self) -> Resources:
        """What it holds once it runs."""
        return self.want.spec.resources

    @property
    def kind(self) -> object:
        """Equal for those that fit into the same boxes: where one finds no room, the other finds none either."""
        return tuple(getattr(self.request, name) for name in _DECISIVE)


def waits(instance: Instance | None, generation: int) -> bool:
    """Whether an instance is still to be placed in this generation."""
    return (
        instance is not None
        and instance.generation == generation
        and InstanceState(instance.state) in WAITING
        and instance.deployment.wanted == "running"
    )


class Asks:
    """Reads what is asked for."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context

    def read(self, queued: Sequence[Queued]) -> tuple[list[Ask], dict[str, str]]:
        """Those of the queue that can be tried, in its order; for the others `stale` or `failed`.

        One that cannot be understood is told in the log and left out: the others must not wait for it.
        """
        self._make_homes(queued)
        asks: list[Ask] = []
        outcomes: dict[str, str] = {}
        variants: dict[str, tuple[Variant, ...]] = {}
        with self._context.database.read() as session:
            rows = self._rows(session, queued)
            for item in queued:
                instance = rows.get(item.instance)
                if instance is None or not waits(instance, item.generation):
                    outcomes[item.instance] = "stale"
                    continue
                try:
                    asks.append(self._ask(session, item, instance, variants))
                except NotFound as error:
                    outcomes[item.instance] = self._fail(item, str(error))
                except Exception:
                    log.exception("request not understood", instance=item.instance)
                    outcomes[item.instance] = "failed"
        return asks, outcomes

    @staticmethod
    def _rows(session: Session, queued: Sequence[Queued]) -> dict[str, Instance]:
        statement = (
            select(Instance)
            .where(Instance.id.in_([item.instance for item in queued]))
            .options(
                joinedload(Instance.deployment).joinedload(Deployment.user),
                joinedload(Instance.deployment).selectinload(Deployment.instances),
                selectinload(Instance.mounts),
            )
        )
        return {instance.id: instance for instance in session.scalars(statement)}

    def _ask(
        self, session: Session, item: Queued, instance: Instance, variants: dict[str, tuple[Variant, ...]]
    ) -> Ask:
        want = wanted(session, instance, home_limit_bytes=self._context.settings.home_limit_bytes)
        digest = want.image.digest
        if digest not in variants:
            variants[digest] = image_variants(session, want.image)
        request = placement_request(session, instance, want, variants[digest])
        return Ask(item, want, request, instance.deployment.lease_s(time.time()))

    def _make_homes(self, queued: Sequence[Queued]) -> None:
        """The rows of homes that are not there yet, so that the rest needs only to read."""
        with self._context.database.read() as session:
            rows = session.execute(
                select(Instance.service, Deployment.manifest, Deployment.user_id)
                .join(Deployment, Deployment.id == Instance.deployment_id)
                .where(Instance.id.in_([item.instance for item in queued]))
            )
            people = {user for service, manifest, user in rows if _names_home(manifest, service)}
            home = (Fileset.kind == FilesetKind.HOME.value, Fileset.removed_at.is_(None))
            people -= set(
                session.scalars(select(Fileset.owner_id).where(Fileset.owner_id.in_(people), *home))
            )
        if not people:
            return
        with self._context.database.write() as session:
            for person in sorted(people):
                home_of(session, session.get_one(User, person), self._context.settings.home_limit_bytes)

    def _fail(self, item: Queued, message: str) -> str:
        with self._context.database.write() as session:
            instance = session.get(Instance, item.instance, with_for_update=True)
            if instance is None or not waits(instance, item.generation):
                return "stale"
            instance.error = message
            set_state(session, self._context.redis, instance, InstanceState.FAILED, "failed", detail=message)
        return "failed"


def _names_home(manifest: dict[str, Any], service: str) -> bool:
    """Whether a service of a manifest that was checked when it was published has a home."""
    return bool(manifest.get("services", {}).get(service, {}).get("home"))
