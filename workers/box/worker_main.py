"""`openraas box worker`: the Celery worker of a box, its roles and its heartbeat in one process."""

from __future__ import annotations

from pathlib import Path

from common import logs
from common.celery_app import run_worker
from common.errors import Unavailable
from common.metrics import serve_metrics
from common.oci.store import ContentStore
from common.words import Role
from workers.box.config import BoxConfig, Identity
from workers.box.pulse import Pulse
from workers.box.role import BoxContext, RoleWorker
from workers.box.status import Heartbeat
from workers.box.worker import BoxWorker, load_role, make_context
from workers.depository.holdings import Holdings
from workers.depository.telling import Teller

# Tasks only wake; two threads hand thousands of them a second to the lanes of `Jobs`.
TASK_THREADS = 2


def _load_roles(context: BoxContext) -> dict[Role, RoleWorker]:
    loaded = {}
    for role in sorted(context.config.roles):
        try:
            loaded[role] = load_role(role, context)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("workers."):
                raise
            raise Unavailable(
                f"The role {role} needs the Python module {error.name}.",
                remedy="Run: pip install 'openraas[compute]', or leave the role out of box.toml.",
            ) from error
    return loaded


def run(state_dir: Path) -> None:
    """Work until SIGTERM; containers and mounts stay. Raises OpenRaaSError if a role cannot work here."""
    config, identity = BoxConfig.load(state_dir).with_engine(), Identity.load(state_dir)
    logs.configure(config.log_level, json_lines=config.log_format == "json", box=config.box)
    context, app = make_context(config, identity)
    worker = BoxWorker(context, _load_roles(context))
    holdings = Holdings(context.table, ContentStore(context.paths.store))
    heartbeat = Heartbeat(context, worker.roles.values(), holdings, Pulse(context.table))
    teller = Teller(context)
    worker.register(app)
    serve_metrics(config.metrics_port)
    worker.start()
    heartbeat.start()
    teller.start()
    try:
        run_worker(app, concurrency=TASK_THREADS)
    finally:
        teller.stop()
        heartbeat.stop()
        worker.stop()
