"""Whether this process lives (`/healthz`) and can do its work (`/readyz`)."""

from __future__ import annotations

import redis
from flask import Blueprint, Response
from pydantic import BaseModel
from sqlalchemy import text

from common.errors import Unavailable
from master.accounts.guard import public
from master.context import MasterContext
from master.web.current import context, reply

views = Blueprint("health", __name__)


class Health(BaseModel):
    """What works: `ok`, or what is wrong with it."""

    database: str
    redis: str

    @property
    def is_good(self) -> bool:
        """Whether everything works."""
        return self.database == self.redis == "ok"


def look(master: MasterContext) -> Health:
    """Ask the database and Redis; each answers or fails within its timeout."""
    database = broker = "ok"
    try:
        with master.database.read() as session:
            session.execute(text("SELECT 1"))
    except Unavailable as error:
        database = error.message
    try:
        master.redis.ping()
    except redis.RedisError as error:
        broker = f"Redis does not answer ({type(error).__name__})."
    return Health(database=database, redis=broker)


@views.get("/healthz")
@public
def alive() -> Response:
    """This process answers."""
    return Response("ok\n", mimetype="text/plain")


@views.get("/readyz")
@public
def ready() -> Response:
    """Database and Redis answer too."""
    health = look(context())
    return reply(health, 200 if health.is_good else 503)
