"""A box's context for tests: real table, wish list, jobs and keys; reports are kept in a list."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import redis

from common.files import write_atomically, write_secret
from common.join import JoinAnswer
from common.names import EPOCH, EPOCH_READY, wish_key
from common.reports import Report
from common.signing import SealKey, Signer, Verifier
from common.wishes import Wish, sign_wish, wish_field
from common.words import Endpoint, Role
from tests.support.certificates import CertificateAuthority
from tests.support.redis import RedisServer, wait_until
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.jobs import Jobs
from workers.box.role import BoxContext, RoleWorker
from workers.box.table import Table
from workers.box.wishes import WishList
from workers.box.worker import BoxWorker

SEED = bytes(range(32))


class KeptReports:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.all: list[Report] = []
        self._lock = threading.Lock()

    def send(self, report: Report) -> bool:
        with self._lock:
            self.all.append(report)
        return True

    def of(self, subject: str, kind: str) -> list[Report]:
        """Reports of one kind about one subject, in their order."""
        with self._lock:
            return [report for report in self.all if report.subject == subject and report.kind == kind]

    def kinds(self, subject: str) -> list[str]:
        """The kinds of all reports about a subject; steps as `step:name`."""
        with self._lock:
            return [
                f"step:{report.step}" if report.kind == "step" else report.kind
                for report in self.all
                if report.subject == subject
            ]

    def wait_for(self, subject: str, kind: str, limit_s: float = 15.0) -> Report:
        """The last report of a kind about a subject, once there is one."""
        wait_until(lambda: bool(self.of(subject, kind)), limit_s, f"a report {kind} of {subject}")
        return self.of(subject, kind)[-1]


@dataclass
class TestBox:
    """A box's context and the master's side of it."""

    __test__ = False
    context: BoxContext
    signer: Signer
    redis: redis.Redis
    reports: KeptReports = field(default_factory=KeptReports)

    def wish(self, wish: Wish) -> None:
        """Put a wish on the box's list, as the master does."""
        token = sign_wish(self.signer, self.context.config.box, wish)
        field_name = wish_field(wish.role, wish.subject)
        self.redis.hset(wish_key(self.context.config.box), field_name, token)

    def drop(self, role: Role, subject: str) -> None:
        """Take a wish off the list."""
        self.redis.hdel(wish_key(self.context.config.box), wish_field(role.value, subject))

    def worker(self, worker: RoleWorker) -> BoxWorker:
        """What drives the role; not started, so that tests wake it when they want."""
        return BoxWorker(self.context, {worker.role: worker})


def identity_for(signer: Signer, config: BoxConfig, redis_url: str = "redis://127.0.0.1:1") -> Identity:
    """What joining would have given."""
    answer = JoinAnswer(
        box=config.box,
        certificate="",
        authority="",
        master_key=signer.public_key,
        master=Endpoint(host="127.0.0.1", port=8080),
        redis_url=redis_url,
        applications_domain="localhost",
    )
    return Identity(answer=answer, seal_key=SealKey.generate())


def save_certificate(config: BoxConfig) -> None:
    """The box's certificate, its key, and the authority that signed it."""
    paths = BoxPaths(config.state_dir)
    authority = CertificateAuthority("test")
    certificate, key = authority.sign("127.0.0.1", config.box)
    write_atomically(paths.authority, authority.certificate)
    write_atomically(paths.certificate, certificate)
    write_secret(paths.private_key, key.decode())


def make_box(config: BoxConfig, server: RedisServer) -> TestBox:
    """A box that has joined."""
    Path(config.state_dir).mkdir(parents=True, exist_ok=True)
    signer = Signer(SEED)
    identity = identity_for(signer, config, server.url)
    identity.save(config.state_dir)
    save_certificate(config)
    client: redis.Redis = redis.Redis.from_url(server.url, decode_responses=True)
    client.mset({EPOCH: "1", EPOCH_READY: "1"})
    paths = BoxPaths(config.state_dir)
    table = Table(paths.table)
    verifier = Verifier(signer.public_key)
    reports = KeptReports()
    context = BoxContext(
        config=config,
        paths=paths,
        table=table,
        redis=client,
        wishes=WishList(config.box, table, client, verifier),
        reporter=reports,  # type: ignore[arg-type]
        jobs=Jobs(),
        verifier=verifier,
        seal_key=SealKey(identity.seal_key),
    )
    return TestBox(context, signer, client, reports)
