"""Who may join somebody else's session without an invitation."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.orm import Session

from master.accounts.guard import may
from master.accounts.models import User, UserRole
from master.deployments.models import Deployment
from master.people.groups import pupils


class Right(StrEnum):
    """As what somebody comes in."""

    TEACHER = "teacher"
    OPERATOR = "operator"


def right_to_join(session: Session, user: User, deployment: Deployment) -> Right | None:
    """Teachers may join the members of their groups, operators everybody; none: this person may not."""
    if deployment.user_id == user.id:
        return None
    if session.scalar(pupils(user).where(User.id == deployment.user_id).limit(1)) is not None:
        return Right.TEACHER
    return Right.OPERATOR if may(user, UserRole.OPERATOR) else None
