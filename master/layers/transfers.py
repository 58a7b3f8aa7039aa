"""The transfers that run now, as the boxes tell of them."""

from __future__ import annotations

import redis
from pydantic import ValidationError

from common.logs import get_logger
from common.names import BOXES, transfers_key
from common.transfers import BoxTransfers

log = get_logger(__name__)


def running(client: redis.Redis) -> list[BoxTransfers]:
    """By box, in the order of their names; boxes on which nothing runs are left out. Raises redis.RedisError."""
    boxes = sorted(str(box) for box in client.smembers(BOXES))
    if not boxes:
        return []
    told = zip(boxes, client.mget([transfers_key(box) for box in boxes]), strict=True)
    found = [_read(box, str(text)) for box, text in told if text is not None]
    return [item for item in found if item is not None and item.transfers]


def _read(box: str, text: str) -> BoxTransfers | None:
    """What a box wrote; none for what nobody can read, or what it says of another box."""
    try:
        record = BoxTransfers.model_validate_json(text)
    except ValidationError as error:
        log.warning("transfers of a box not read", box=box, errors=error.error_count())
        return None
    return record if record.box == box else None
