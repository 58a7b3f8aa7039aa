"""The catalogue: publishing, finding and removing applications."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import NotFound
from common.words import new_id
from master.accounts.models import User
from master.audit.services import record
from master.catalogue.manifest import Manifest
from master.catalogue.models import Application


def list_applications(session: Session) -> list[Application]:
    """All applications, by title."""
    return list(session.scalars(select(Application).order_by(Application.title)))


def find_application(session: Session, name: str) -> Application:
    """The application of that name; raises NotFound that names it."""
    found = session.scalar(select(Application).where(Application.name == name))
    if found is None:
        raise NotFound(
            f"There is no application {name}.",
            field="application",
            remedy="The catalogue, or openraas app list, shows those that there are.",
        )
    return found


def publish(session: Session, manifest: Manifest, by: User | None) -> Application:
    """Put an application into the catalogue; one of the same name is replaced.

    What runs already keeps the manifest that it was started with.
    """
    application = session.scalar(select(Application).where(Application.name == manifest.name))
    was = {} if application is None else {"title": application.title}
    record(session, "application.publish", f"application:{manifest.name}", before=was)
    if application is None:
        application = Application(id=new_id("a"), name=manifest.name)
        session.add(application)
    application.title = manifest.title
    application.description = manifest.description
    application.manifest = manifest.model_dump(mode="json")
    application.published_by = by.id if by else None
    session.flush()
    session.expire(application, ["publisher"])
    return application


def remove(session: Session, name: str) -> None:
    """Take an application out of the catalogue; what runs goes on. Raises NotFound."""
    found = find_application(session, name)
    record(session, "application.remove", f"application:{name}", before={"title": found.title})
    session.delete(found)


def manifest_of(application: Application) -> Manifest:
    """The manifest as it was published."""
    return Manifest.model_validate(application.manifest)
