"""Bringing the platform up on this machine, and down again.

What does not depend on one another starts at once: Redis and the engine while the database is prepared, the
master's programs and the box while Redis reads its data.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import create_default_context
from typing import TextIO

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common import needs
from common.addresses import MasterAddress, from_here
from common.errors import Conflict, Unavailable
from common.files import read_secret, write_atomically, write_secret
from common.logs import get_logger
from common.settings import Settings
from common.status import BoxStatus
from common.supervision import Program
from master.accounts import services as accounts
from master.accounts.models import User, UserRole, UserState
from master.boxes import services as boxes
from master.boxes.authority import Authority
from master.cli.target import SERVER_VARIABLE, TOKEN_VARIABLE, Target
from master.context import MasterContext, make_context, redis_url
from master.db.migrate import upgrade
from master.scheduling.policy import load_policy
from master.trust.authorities import settle
from master.up import engine, redis_server
from master.up.layout import Layout
from master.up.local_box import LocalBox
from master.up.programs import BOX, BOX_STOP_S, FLOWER, WEB, box_program, environment, master_programs

log = get_logger(__name__)

# What ends is noticed at once; what only begins slowly, on a small or busy machine, is given time.
READY_S = 180.0
BOX_S = 180.0
TOKEN_S = 300.0
SHUTDOWN_S = 120.0
POLL_S = 0.05
CLI_TOKEN_NAME = "openraas up"  # noqa: S105 -- what the token is called

Step = Callable[[str], AbstractContextManager[object]]


class Platform:
    """Everything that `openraas up` starts on this machine. `step` shows what is being done.

    Without `with_box` it is a master alone, which needs no container engine and no root.
    """

    def __init__(
        self, settings: Settings, step: Step, *, box_file: Path | None = None, with_box: bool = True
    ) -> None:
        self.settings = settings
        self.layout = Layout(settings.state_dir)
        self.context: MasterContext
        self.box_id = ""
        self.engine_url = ""
        # The first administrator's password, if this start made it.
        self.first_password: str | None = None
        self.is_up = False
        self._step = step
        self._box = LocalBox(self.layout, box_file)
        self._with_box = with_box
        self._supervisor = self.layout.supervisor()
        self._lock: TextIO | None = None
        self._began = 0.0

    @property
    def portal(self) -> str:
        """The portal's address."""
        conf = self.settings
        return MasterAddress(from_here(conf.listen), conf.web_port, tls=conf.portal_tls).url

    def environment(self) -> dict[str, str]:
        """For verbs of the command line that shall speak to this platform and no other."""
        own = {TOKEN_VARIABLE: self.target().token, SERVER_VARIABLE: self.portal}
        return {**os.environ, **environment(self.settings), **own}

    def target(self) -> Target:
        """How the operator's own programs reach this platform."""
        paths = self.layout.master
        return Target(
            server=self.portal, token=read_secret(paths.cli_token), authority=paths.authority.read_text()
        )

    def start(self) -> None:
        """Bring everything up; raises OpenRaaSError, and then what was started is left for `stop`."""
        self._began = time.time()
        self._check()
        with self._step("Preparing keys and settings"):
            authority = self._prepare()
        if self._with_box and self._box.computes:
            self.engine_url = engine.choose(self.layout)
        own_engine = self.engine_url == engine.own_url(self.layout)
        with self._step("Starting the supervisor"):
            self._supervisor.start(self._programs(own_engine=own_engine))
        with self._step("Preparing the database"):
            self.context = make_context(self.settings)
            upgrade(self.context.database.engine)
            self._first_administrator()
        with self._step("Waiting for Redis"):
            self._wait_for_redis()
        joined = self._with_box and self._box.has_joined(redis_url(self.settings))
        for program in master_programs(self.settings, self.layout):
            if program.name != FLOWER:
                self._supervisor.start_program(program.name)
        if own_engine:
            with self._step("Waiting for the container engine"):
                engine.wait(self.layout)
        if joined:
            self._supervisor.start_program(BOX)
        with self._step("Starting the master"):
            self._wait_for_web()
        if self._with_box:
            if not joined:
                with self._step("Joining this machine as a box"):
                    self._join(authority)
                self._supervisor.start_program(BOX)
            with self._step("Starting the box"):
                self._wait_for_box()
        # Nobody waits for Flower, and it takes its time: it must not keep the others from the processor.
        self._supervisor.start_program(FLOWER)
        self._supervisor.wait(set(self._supervisor.states()) - {FLOWER}, limit_s=READY_S)
        self.is_up = True

    def _check(self) -> None:
        load_policy(self.settings.policy)
        wanted = [needs.SETPRIV]
        if self._with_box:
            wanted += [needs.NGINX, needs.SSHD, needs.BUBBLEWRAP, needs.SSHFS, needs.IPTABLES, needs.IP]
        needs.require(wanted if self.settings.redis_url else [needs.REDIS, *wanted])
        if self._with_box and os.geteuid() != 0:
            raise Unavailable(
                "The box beside the master mounts files and makes networks, which needs root.",
                remedy="Run it as root, for example: sudo openraas up.",
            )
        self._take_lock()
        host = self.settings.listen
        ports = [needs.Port(host, self.settings.web_port, "OPENRAAS_WEB_PORT", "the portal")]
        if not self.settings.redis_url:
            ports.append(needs.Port("127.0.0.1", self.settings.redis_port, "OPENRAAS_REDIS_PORT", "Redis"))
        needs.require_free(ports)
        if self.settings.redis_url:
            redis_server.check_given(self.settings, self.layout)

    def _take_lock(self) -> None:
        root = self.settings.state_dir
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        self.layout.master.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self.layout.lock.open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise Conflict(
                f"The platform under {root} runs already.",
                remedy="See it with: openraas status. End it where it was started.",
            ) from error

    def _prepare(self) -> Authority:
        paths = self.layout.master
        authority = settle(paths, self.settings.listen).in_office
        # Verbs in other terminals do not know the options of this one.
        write_atomically(paths.portal_url, self.portal + "\n")
        return authority

    def _programs(self, *, own_engine: bool) -> list[Program]:
        programs = master_programs(self.settings, self.layout)
        if self._with_box:
            programs.append(box_program(self.layout, self.engine_url))
        if own_engine:
            programs.insert(0, engine.program(self.layout))
        if not self.settings.redis_url:
            programs.insert(0, redis_server.program(self.settings, self.layout))
        return programs

    def _wait_for_redis(self) -> None:
        if not self.settings.redis_url:
            redis_server.wait(redis_url(self.settings), self.layout)
        with self.context.database.read() as session:
            boxes.restore(session, self.context.redis)

    def _first_administrator(self) -> None:
        paths = self.layout.master
        with self.context.database.write() as session:
            self.first_password = accounts.ensure_administrator(session)
            if self.first_password is not None:
                write_secret(paths.admin_password, self.first_password + "\n")
            if self.first_password is not None or not paths.cli_token.exists():
                token = accounts.issue_api_token(session, _administrator(session), CLI_TOKEN_NAME, None)
                write_secret(paths.cli_token, token + "\n")

    def _wait_for_web(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self._ready():
            self._fail_if_ended(WEB)
            if time.monotonic() > deadline:
                self._supervisor.wait([WEB], limit_s=0)
                raise Unavailable(
                    "The portal does not answer.", remedy=f"Look into {self.layout.master.logs / 'web.log'}."
                )
            time.sleep(POLL_S)

    def _ready(self) -> bool:
        host = self.portal.partition("://")[2].rpartition(":")[0].strip("[]")
        connection: HTTPConnection
        if self.portal.startswith("https"):
            context = create_default_context(cafile=str(self.layout.master.authority))
            connection = HTTPSConnection(host, self.settings.web_port, timeout=5.0, context=context)
        else:
            connection = HTTPConnection(host, self.settings.web_port, timeout=5.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _fail_if_ended(self, name: str) -> None:
        if self._supervisor.states()[name].has_failed:
            self._supervisor.wait([name], limit_s=0)

    def _join(self, authority: Authority) -> None:
        with self.context.database.write() as session:
            token = boxes.make_token(session, authority, _administrator(session), TOKEN_S)
        self._box.join(
            self.portal,
            str(token),
            listen=self.settings.listen,
            environment={**os.environ, **environment(self.settings)},
        )

    def _wait_for_box(self) -> None:
        self.box_id = self._box.name
        deadline = time.monotonic() + BOX_S
        while self._box_status() is None:
            self._fail_if_ended(BOX)
            self._box.check()
            if time.monotonic() > deadline:
                raise Unavailable(
                    "The box does not report.", remedy=f"Look into {self.layout.box / 'logs' / 'worker.log'}."
                )
            time.sleep(POLL_S)

    def _box_status(self) -> BoxStatus | None:
        try:
            status = boxes.statuses(self.context.redis).get(self.box_id)
        except redis.RedisError:
            return None
        # A Redis that kept its data still has the record of the last run.
        return status if status is not None and status.at >= self._began else None

    def stop_box(self) -> None:
        """Stop the box's programs and wait for their end; what they started for instances is then nobody's."""
        self._supervisor.stop_program(BOX)
        deadline = time.monotonic() + BOX_STOP_S
        while self._supervisor.states()[BOX].state != "STOPPED" and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop all programs that `start` started, the box first and Redis last."""
        with self._step("Stopping programs"):
            self._supervisor.shutdown(limit_s=SHUTDOWN_S)
            if self.engine_url == engine.own_url(self.layout):
                engine.let_go(self.layout)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _administrator(session: Session) -> User:
    """The one in whose name this machine's own verbs act."""
    found = session.scalar(
        select(User)
        .where(User.role == UserRole.ADMINISTRATOR.value, User.state == UserState.ACTIVE.value)
        .order_by(User.created_at)
        .limit(1)
    )
    if found is None:
        raise Conflict("The database has no active administrator.", remedy="Make one on another master.")
    return found
