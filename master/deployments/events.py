"""Timeline rows and the live events that announce them."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from typing import Any

import redis
from sqlalchemy.orm import Session

from common.errors import OpenRaaSError
from common.logs import bind, get_logger
from common.names import events_channel
from common.words import InstanceState
from master.db.session import after_commit
from master.deployments.models import Instance, TimelineRow
from master.lifecycle.states import may

log = get_logger(__name__)


class WrongStep(OpenRaaSError):
    """The state machine does not allow this."""


def about(instance: Instance) -> AbstractContextManager[None]:
    """What is logged within the block, or after a commit because of it, names the instance."""
    return bind(instance=instance.id, generation=instance.generation, deployment=instance.deployment_id)


def add_row(
    session: Session, client: redis.Redis, instance: Instance, step: str, **fields: Any
) -> TimelineRow:
    """Write a timeline row and announce it once it is committed.

    Fields: at (Unix time), box_id, took_s, size_bytes, sources, detail.
    """
    row = TimelineRow(
        instance_id=instance.id,
        generation=instance.generation,
        at=fields.pop("at", time.time()),
        state=instance.state,
        step=step,
        **{"box_id": instance.box_id, "sources": {}, "detail": "", **fields},
    )
    session.add(row)
    after_commit(session, lambda: announce(client, instance, row.id))
    return row


def announce(client: redis.Redis, instance: Instance, row_id: int) -> None:
    """Tell whoever looks at the deployment's page that something changed; a lost event is no harm."""
    event = {
        "deployment": instance.deployment_id,
        "instance": instance.id,
        "state": instance.state,
        "row": row_id,
    }
    try:
        client.publish(events_channel(instance.deployment_id), json.dumps(event))
    except redis.RedisError as error:
        with about(instance):
            log.warning("event not announced", error=str(error))


def set_state(
    session: Session, client: redis.Redis, instance: Instance, state: InstanceState, step: str, **fields: Any
) -> TimelineRow:
    """Move an instance to a state with its timeline row; raises WrongStep if that is not allowed."""
    if not may(InstanceState(instance.state), state):
        raise WrongStep(f"Instance {instance.id} cannot go from {instance.state} to {state.value}.")
    instance.state = state.value
    instance.state_at = time.time()
    with about(instance):
        log.info("instance " + state.value, step=step, box=instance.box_id)
        return add_row(session, client, instance, step, **fields)
