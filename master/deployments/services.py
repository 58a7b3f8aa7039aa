"""What people ask for: deployments begin and end here. Checks come first; a refused request leaves nothing."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from common.errors import Forbidden, NotFound
from common.logs import get_logger
from common.signing import seal
from common.words import InstanceState, new_id
from master.accounts.models import User, UserRole
from master.audit.services import record
from master.catalogue.manifest import FilledService, Manifest, check_options, fill
from master.catalogue.options import OptionValue
from master.catalogue.services import find_application
from master.context import MasterContext
from master.deployments.events import about, add_row
from master.deployments.leases import lease_terms
from master.deployments.messages import wake_scheduler
from master.deployments.models import Deployment, Instance
from master.deployments.parts import check_fileset, check_pins, usable_image
from master.images.models import Image
from master.lifecycle.instances import Steps
from master.limits import services as limits
from master.limits.rules import AMOUNTS
from master.nearness.people import Seen, locate_person, remember
from master.scheduling.order import Priority

log = get_logger(__name__)

Options = Mapping[str, OptionValue]


def request_deployment(
    context: MasterContext,
    user: User,
    application: str,
    options: Options,
    idempotency_key: str | None = None,
    *,
    priority: Priority = Priority.NORMAL,
    seen: Seen | None = None,
    keep: bool = False,
) -> Deployment:
    """Write the wish down and wake the scheduler. `seen` is what the person measured before asking.

    A repeated `idempotency_key` of the same person gives the deployment of the first time. `keep` means no lease and
    no idle stop. Raises NotFound for an unknown application, image, fileset or box to be pinned to, BadInput for
    options out of range, Forbidden for a priority that is not this person's to take or somebody who may not `keep`,
    LimitReached for more than this person or a group of theirs may use at once or keep, Unavailable when no box holds
    the image or a fileset; in all of these nothing is written.
    """
    if priority is Priority.HIGH and user.role == UserRole.USER.value:
        raise Forbidden("Only operators may go before others.", field="priority", remedy="Leave it out.")
    if keep and user.role == UserRole.USER.value:
        raise Forbidden("Only operators keep deployments.", field="keep", remedy="Leave it out.")
    seen = seen or Seen()
    near = locate_person(context, user, seen)
    with context.database.write() as session:
        if idempotency_key and (known := _asked_before(session, user, idempotency_key)) is not None:
            return known
        entry = find_application(session, application)
        manifest = Manifest.model_validate(entry.manifest)
        plain, secret = check_options(manifest, options)
        services = fill(manifest, plain)
        images = {
            name: usable_image(session, context, service.spec.image) for name, service in services.items()
        }
        for name, service in services.items():
            check_pins(session, name, service.placement)
            for use in service.filesets:
                check_fileset(session, user, use.name)
        limits.check(session, user, _amounts(services))
        if keep:
            limits.check_may_keep(session, user, user)
        deployment = Deployment(
            id=new_id("d"),
            user_id=user.id,
            application_id=entry.id,
            application_name=entry.name,
            title=entry.title,
            manifest=entry.manifest,
            options=dict(plain),
            sealed_options={
                name: seal(context.seal_key.public_key, str(value)) for name, value in secret.items()
            },
            near=near.model_dump(),
            **lease_terms(
                manifest,
                context.settings,
                is_kept=keep,
                person_s=limits.longest_lease_s(session, user),
            ),
            idempotency_key=idempotency_key,
            priority=priority.value,
        )
        session.add(deployment)
        remember(session, user, seen, context.settings.nearness_kept_s)
        _add_instances(session, context, deployment, services, images)
        record(
            session,
            "deployment.start",
            f"deployment:{deployment.id}",
            after={"application": entry.name, "priority": priority.value},
        )
        session.flush()
        session.refresh(deployment)
        _ = deployment.instances, deployment.user
    return deployment


def _amounts(services: Mapping[str, FilledService]) -> dict[str, float]:
    """What all instances would hold together, as limits count it."""
    found: dict[str, float] = {"deployments": 1.0}
    for service in services.values():
        for name in AMOUNTS[1:]:
            more = getattr(service.spec.resources, name) * service.instances
            found[name] = found.get(name, 0.0) + more
    return found


def _asked_before(session: Session, user: User, key: str) -> Deployment | None:
    known = session.scalar(
        select(Deployment).where(Deployment.user_id == user.id, Deployment.idempotency_key == key).limit(1)
    )
    if known is not None:
        _ = known.instances, known.user
    return known


def _add_instances(
    session: Session,
    context: MasterContext,
    deployment: Deployment,
    services: Mapping[str, FilledService],
    images: Mapping[str, Image],
) -> None:
    for name, service in services.items():
        for ordinal in range(service.instances):
            instance = Instance(
                id=new_id("i"),
                deployment_id=deployment.id,
                service=name,
                ordinal=ordinal,
                generation=1,
                state=InstanceState.REQUESTED.value,
                image_digest=images[name].digest,
                **service.spec.resources.model_dump(),
            )
            session.add(instance)
            session.flush()
            with about(instance):
                log.info("instance requested", application=deployment.application_name)
                add_row(session, context.redis, instance, "requested", detail=f"{deployment.title} for you.")
                wake_scheduler(session, context.celery, context.redis, instance.id, instance.generation)


def find_deployment(session: Session, user: User, deployment_id: str) -> Deployment:
    """The deployment, if it is this person's or the person is an operator. Raises NotFound."""
    found = session.get(Deployment, deployment_id)
    if found is None or (found.user_id != user.id and user.role == UserRole.USER.value):
        raise NotFound(f"There is no deployment {deployment_id}.", field="id", remedy="See openraas ps.")
    return found


def list_deployments(
    session: Session,
    user: User,
    *,
    everybody: bool = False,
    running: bool = False,
    limit: int = 50,
    offset: int = 0,
) -> list[Deployment]:
    """Deployments, newest first. Raises Forbidden if somebody who is no operator asks for `everybody`'s."""
    if everybody and user.role == UserRole.USER.value:
        raise Forbidden(
            "Only operators see other people's deployments.",
            field="everybody",
            remedy="Leave it out to see your own, or ask an operator.",
        )
    whole = (selectinload(Deployment.instances), joinedload(Deployment.user))
    statement = select(Deployment).options(*whole).order_by(Deployment.created_at.desc(), Deployment.id)
    if not everybody:
        statement = statement.where(Deployment.user_id == user.id)
    if running:
        statement = statement.where(Deployment.ended_at.is_(None))
    return list(session.scalars(statement.limit(limit).offset(offset)))


def stop_deployment(context: MasterContext, user: User, deployment_id: str, *, why: str = "") -> Deployment:
    """Let a deployment stop; repeating it does no harm. Raises NotFound."""
    steps = Steps(context)
    with context.database.write() as session:
        deployment = find_deployment(session, user, deployment_id)
        if deployment.wanted != "stopped":
            record(
                session,
                "deployment.stop",
                f"deployment:{deployment.id}",
                before={"owner": deployment.user.name, "application": deployment.application_name},
            )
        deployment.wanted = "stopped"
        for instance in deployment.instances:
            with about(instance):
                steps.stop(session, instance, why or f"{user.name} stopped it.")
        _ = deployment.instances, deployment.user
    return deployment
