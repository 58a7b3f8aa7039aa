"""The page of the queue."""

from __future__ import annotations

import time

from flask import Blueprint, render_template

from master.accounts.guard import current_user
from master.queue.services import read_queue
from master.web.current import context

views = Blueprint("queue", __name__)


@views.get("/queue")
def waiting() -> str:
    """Everybody who waits for room, in the order in which they are served."""
    with context().database.read() as session:
        queue = read_queue(session, context().redis, current_user())
    return render_template("queue.html", queue=queue, now=time.time())
