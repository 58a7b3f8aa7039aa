"""What every process of the master shares: settings, database, Redis, queues, keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import redis
from celery import Celery

from common.celery_app import make_celery
from common.errors import Unavailable
from common.files import read_secret, write_secret
from common.redis_client import connect
from common.settings import Settings
from common.signing import SealKey, Signer
from master.db import models  # noqa: F401 - every process has to know every table that another refers to
from master.db.session import Database, make_engine
from master.paths import MasterPaths

OWNER = "master"

__all__ = ["OWNER", "MasterContext", "MasterPaths", "make_context", "redis_url"]


@dataclass(frozen=True)
class MasterContext:
    """Handed to services; tests make one with their own database and Redis."""

    settings: Settings
    paths: MasterPaths
    database: Database
    redis: redis.Redis
    celery: Celery
    signer: Signer
    seal_key: SealKey


def redis_url(settings: Settings) -> str:
    """The URL of the Redis in force; raises Unavailable if none was started yet."""
    if settings.redis_url:
        return settings.redis_url
    path = MasterPaths(settings.state_dir).redis_url
    if not path.is_file():
        raise Unavailable(f"{path} does not exist.", remedy="Start the platform first: openraas up.")
    return read_secret(path)


def make_context(settings: Settings, *, queues: Iterable[str] = (), name: str = OWNER) -> MasterContext:
    """Connect a process of the master; `queues` are those that its Celery worker consumes."""
    paths = MasterPaths(settings.state_dir)
    if not paths.seal_key.exists():
        write_secret(paths.seal_key, SealKey.generate(), keep_existing=True)
    url = redis_url(settings)
    ca_file = str(paths.authority)
    return MasterContext(
        settings=settings,
        paths=paths,
        database=Database(make_engine(settings.database)),
        redis=connect(url, timeout_s=settings.redis_timeout_s, ca_file=ca_file),
        celery=make_celery(
            name,
            url,
            owner=OWNER,
            queues=queues,
            ca_file=ca_file,
            timeout_s=settings.redis_timeout_s,
            events=True,
        ),
        signer=Signer.load_or_create(paths.signing_key),
        seal_key=SealKey(read_secret(paths.seal_key)),
    )
