"""Who may join somebody else's session without an invitation."""

from __future__ import annotations

from sqlalchemy.orm import Session

from master.accounts.guard import may
from master.accounts.models import User, UserRole
from master.deployments.models import Deployment


def may_join(session: Session, user: User, deployment: Deployment) -> bool:  # noqa: ARG001
    """Operators may, everywhere."""
    return deployment.user_id != user.id and may(user, UserRole.OPERATOR)
