"""What a manifest says of where instances may run, with the boxes that it means now."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from master.catalogue.placement import BOX, ManifestPlacement
from master.deployments.models import Deployment, Instance
from master.lifecycle.states import ON_A_BOX
from master.scheduling.request import Neighbours, Spread


def beside_and_apart(
    session: Session, instance: Instance, placement: ManifestPlacement
) -> tuple[tuple[Neighbours, ...], tuple[Neighbours, ...]]:
    """Where the services run that an instance is to be beside, or apart from."""
    return (
        tuple(_neighbours(session, instance, name) for name in placement.beside),
        tuple(_neighbours(session, instance, name) for name in placement.apart),
    )


def spread_of(session: Session, instance: Instance, placement: ManifestPlacement) -> Spread | None:
    """How many instances of the same service run where."""
    if placement.spread is None:
        return None
    statement = select(Instance.box_id).where(
        Instance.deployment_id == instance.deployment_id,
        Instance.service == instance.service,
        Instance.id != instance.id,
        Instance.state.in_([state.value for state in ON_A_BOX]),
    )
    there = Counter(str(box) for box in session.scalars(statement) if box is not None)
    return Spread("" if placement.spread == BOX else placement.spread, dict(there))


def _neighbours(session: Session, instance: Instance, name: str) -> Neighbours:
    application, _, service = name.rpartition("/")
    statement = select(Instance.box_id).where(
        Instance.service == service,
        Instance.id != instance.id,
        Instance.state.in_([state.value for state in ON_A_BOX]),
    )
    if application:
        statement = statement.join(Deployment).where(
            Deployment.user_id == instance.deployment.user_id, Deployment.application_name == application
        )
    else:
        statement = statement.where(Instance.deployment_id == instance.deployment_id)
    boxes = frozenset(str(box) for box in session.scalars(statement) if box is not None)
    return Neighbours(f"the service {name}", boxes)
