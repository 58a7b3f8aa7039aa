"""The Celery worker of a box: tasks that wake, a heartbeat, and a loop that needs no waking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

import redis
from celery import Celery

from common import names
from common.celery_app import make_celery
from common.logs import bind, get_logger
from common.redis_client import connect
from common.signing import SealKey, Verifier
from common.wishes import wish_field
from common.words import Role
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.jobs import Jobs, Lane
from workers.box.reporter import Reporter
from workers.box.role import BoxContext, RoleWorker
from workers.box.table import Table
from workers.box.trust import TrustKeeper
from workers.box.wishes import WishList

log = get_logger(__name__)

# A role is one module with a class; a box imports only those of its own roles.
ROLE_CLASSES = {
    Role.COMPUTE: "workers.compute.role:Compute",
    Role.FILESTORE: "workers.filestore.role:Filestore",
    Role.DEPOSITORY: "workers.depository.role:Depository",
}


def load_role(role: Role, context: BoxContext) -> RoleWorker:
    """The role's worker, not yet started."""
    module, _, name = ROLE_CLASSES[role].partition(":")
    worker: RoleWorker = getattr(import_module(module), name)(context)
    return worker


def make_context(config: BoxConfig, identity: Identity) -> tuple[BoxContext, Celery]:
    """Connect a box: its table, Redis, wish list and Celery application."""
    paths = BoxPaths(config.state_dir)
    url = identity.answer.redis_url
    ca_file = str(paths.authority)
    app = make_celery(
        f"box.{config.box}",
        url,
        owner=config.box,
        queues=[names.role_queue(role, config.box) for role in sorted(config.roles)],
        ca_file=ca_file,
        timeout_s=config.redis_timeout_s,
    )
    client = connect(url, timeout_s=config.redis_timeout_s, ca_file=ca_file)
    table = Table(paths.table)
    verifier = Verifier(identity.answer.master_key)
    context = BoxContext(
        config=config,
        paths=paths,
        table=table,
        redis=client,
        wishes=WishList(config.box, table, client, verifier),
        reporter=Reporter(app, config.box),
        jobs=Jobs(),
        verifier=verifier,
        seal_key=SealKey(identity.seal_key),
    )
    return context, app


class BoxWorker:
    """Makes facts follow wishes, for every role of the box."""

    def __init__(self, context: BoxContext, roles: dict[Role, RoleWorker]) -> None:
        self._context = context
        self.roles = roles
        self._trust = TrustKeeper(context)
        self._stop = threading.Event()

    def wake(self, role: Role, subject: str) -> None:
        """Converge one subject in the short lane; joins a convergence that is under way."""
        if role in self.roles:
            self._context.jobs.submit(Lane.SHORT, (role, subject), lambda: self._converge(role, subject))

    def _converge(self, role: Role, subject: str) -> None:
        wish = self._context.wishes.current(role, subject)
        if wish is None:
            return
        with bind(subject=subject, instance=getattr(wish, "instance", subject), generation=wish.generation):
            self.roles[role].converge(wish)

    def _forget(self, field: str) -> None:
        role, _, subject = field.partition("/")
        with bind(subject=subject):
            if (worker := self.roles.get(Role(role))) is not None:
                worker.forget(subject)
            self._context.wishes.forget(field)

    def converge_all(self) -> None:
        """Read the whole wish list and wake every subject; undo what is no longer listed."""
        wishes = self._context.wishes
        try:
            gone = wishes.refresh()
        except redis.RedisError as error:
            log.warning("wish list not read", error=str(error))
            gone = set()
        for field in gone:
            role, _, subject = field.partition("/")
            self._context.jobs.submit(Lane.SHORT, (Role(role), subject), self._forgetter(field))
        for wish in wishes.all():
            if wish_field(wish.role, wish.subject) not in gone:
                self.wake(Role(wish.role), wish.subject)

    def _forgetter(self, field: str) -> Callable[[], None]:
        return lambda: self._forget(field)

    def _loop(self) -> None:
        while not self._stop.wait(self._context.config.converge_every_s):
            try:
                self.converge_all()
                for worker in self.roles.values():
                    worker.tidy()
                self._trust.tidy()
            except Exception:
                # This loop is what heals everything else: it goes on, and says what went wrong.
                log.exception("convergence failed")

    def start(self) -> None:
        """Start the roles, adopt what runs, then converge for ever in a thread."""
        for role in self.roles.values():
            role.start()
        self.converge_all()
        threading.Thread(target=self._loop, name="converge", daemon=True).start()

    def stop(self) -> None:
        """End the loop; jobs under way end by themselves."""
        self._stop.set()
        self._context.jobs.close()

    def register(self, app: Celery) -> None:
        """Make the tasks that wake this box."""
        for role in self.roles:
            app.task(name=names.converge_task(role), ignore_result=True)(self._task(role))

    def _task(self, role: Role) -> Callable[[str, int], None]:
        def converge(subject: str, generation: int) -> None:  # noqa: ARG001
            self.wake(role, subject)

        return converge
