"""The row of the timeline that says what a start is expected to take, to be compared with what it took."""

from __future__ import annotations

import redis
from sqlalchemy.orm import Session

from master.deployments.events import add_row
from master.deployments.models import Instance
from master.scheduling.request import Placement, Prediction

PREDICTED = "predicted"


def write_prediction(session: Session, client: redis.Redis, instance: Instance, placement: Placement) -> None:
    """Say beside a placement what is expected of it; its bytes are those that are to be fetched."""
    add_row(
        session,
        client,
        instance,
        PREDICTED,
        box_id=placement.compute,
        took_s=placement.predicted.start_s,
        size_bytes=placement.missing_bytes,
        detail=in_words(placement.predicted),
    )


def in_words(predicted: Prediction) -> str:
    """The parts that take any time: `layers 1.2 s, launch 1.0 s`."""
    parts = {
        "waiting for the line": predicted.queue_s,
        "layers": predicted.fetch_s,
        "unpacking": predicted.unpack_s,
        "files": predicted.files_s,
        "launch": predicted.launch_s,
    }
    return ", ".join(f"{name} {took:.1f} s" for name, took in parts.items() if took >= 0.05)
