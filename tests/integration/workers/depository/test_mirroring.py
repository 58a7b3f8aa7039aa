"""A depository fetches images from registries elsewhere: Debian's docker-registry, and one that misbehaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from common import names
from common.oci.digest import digest_of
from common.reports import Failed, Mirrored, MirrorProgress, Report
from common.signing import SealKey, seal
from common.wishes import MirrorWish, sign_wish, wish_field
from common.words import Role
from tests.support.certificates import CertificateAuthority
from tests.support.depository import PASSWORD, USER, FakeBox, Image
from tests.support.redis import RedisServer, wait_until
from tests.support.upstream import Upstream, faulty_of, run_docker_registry, run_faulty
from workers.box.jobs import Jobs
from workers.box.role import BoxContext
from workers.box.wishes import WishList
from workers.depository import mirroring
from workers.depository.role import Depository

MakeBox = Callable[..., FakeBox]


class Worker:
    """The role depository of one box; what it reports is caught."""

    def __init__(self, box: FakeBox, url: str) -> None:
        self.box = box
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.redis.mset({names.EPOCH: "e1", names.EPOCH_READY: "e1"})
        self.sent: list[Report] = []
        self.seal_key = SealKey(SealKey.generate())
        self.jobs = Jobs()
        self.wishes = WishList(box.name, box.table, self.redis, box.verifier)
        self.role = Depository(
            BoxContext(
                config=box.config,
                paths=box.paths,
                table=box.table,
                redis=self.redis,
                wishes=self.wishes,
                reporter=self,  # type: ignore[arg-type]
                jobs=self.jobs,
                verifier=box.verifier,
                seal_key=self.seal_key,
            )
        )

    def send(self, report: Report) -> bool:
        self.sent.append(report)
        return True

    def mirror(self, source: str, *, secret: tuple[str, str] | None = None, **fields: Any) -> Report:
        """Wish it, and wait for the end."""
        number = len(self.sent)
        subject = f"mirror.m-{number}"
        self.wish(subject, source, secret, **fields)
        wait_until(lambda: self._ended(subject), 30, "the end")
        return self._ended(subject)[0]

    def wish(self, subject: str, source: str, secret: tuple[str, str] | None, **fields: Any) -> None:
        sealed = seal(self.seal_key.public_key, json.dumps(secret)) if secret else None
        values = {"repository": "here", "architectures": [], "sealed": sealed, **fields}
        wish = MirrorWish(
            subject=subject, generation=0, version=1, wanted="mirrored", source=source, **values
        )
        token = sign_wish(self.box.master.signer, self.box.name, wish)
        self.redis.hset(names.wish_key(self.box.name), wish_field(Role.DEPOSITORY, subject), token)
        current = self.wishes.current(Role.DEPOSITORY, subject)
        assert current is not None
        self.role.converge(current)

    def _ended(self, subject: str) -> list[Report]:
        return [item for item in self.sent if item.subject == subject and isinstance(item, Mirrored | Failed)]


@pytest.fixture
def box(make_box: MakeBox) -> FakeBox:
    return make_box("dep-1")


@pytest.fixture
def worker(box: FakeBox, redis_server: RedisServer) -> Iterator[Worker]:
    made = Worker(box, redis_server.url)
    yield made
    made.jobs.close()


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with run_docker_registry(tmp_path_factory.mktemp("upstream") / "registry") as running:
        yield running


def test_an_image_is_fetched_with_name_and_password_and_described(
    worker: Worker, box: FakeBox, upstream: Upstream
) -> None:
    image = Image(300_000, 200_000, repository="library/site")
    upstream.push(image, "1.0")
    report = worker.mirror(f"{upstream.host}/library/site:1.0", secret=(USER, PASSWORD))
    assert isinstance(report, Mirrored), report
    assert (report.image.digest, report.image.architecture) == (image.digest, "amd64")
    assert [blob.digest for blob in report.image.blobs] == list(image.by_digest)
    for digest, data in image.by_digest.items():
        assert box.holdings.find(digest, "here") is not None
        assert box.holdings.store.read(digest, 10**7) == data
    assert list((box.paths.store / "ingest").iterdir()) == []


def test_a_private_registry_is_trusted_by_the_authority_that_is_named(
    worker: Worker, box: FakeBox, tmp_path: Path
) -> None:
    private, stranger = CertificateAuthority("private"), CertificateAuthority("stranger")
    image = Image(300_000)
    with run_docker_registry(tmp_path / "registry", private) as upstream:
        upstream.push(image, "1")
        about: dict[str, Any] = {"source": f"{upstream.host}/site:1", "secret": (USER, PASSWORD)}
        refused = worker.mirror(**about, ca=stranger.certificate.decode())
        assert isinstance(refused, Failed)
        assert "shows a certificate that this box does not trust" in refused.message
        assert "--ca" in refused.message
        report = worker.mirror(**about, ca=private.certificate.decode())
        assert isinstance(report, Mirrored), report
    assert box.holdings.missing(image.by_digest) == []


def test_what_came_of_a_long_mirror_stays_until_it_has_its_name(
    worker: Worker, box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(mirroring, "REPEAT_S", 0.0)
    monkeypatch.setattr(mirroring, "PIN_AGAIN_S", 0.0)
    image = Image(400_000)
    with run_faulty(faulty_of(image, "1", break_after=50_000)) as elsewhere:
        worker.wish("mirror.m-long", f"{elsewhere.host}/site:1", (USER, PASSWORD))
        config = digest_of(image.config)

        def let_pins_end() -> None:
            box.table.write("UPDATE blobs SET pinned_until = 1, used_at = 1")

        def is_pinned() -> bool:
            pins = {timer.digest: timer.pinned_until for timer in box.holdings.timers()}
            return pins.get(config, 0.0) > time.time()

        wait_until(is_pinned, what="the first blob")
        let_pins_end()
        wait_until(is_pinned, what="its next pin")
        assert box.holdings.missing(image.by_digest), "the mirror goes on"
        wait_until(lambda: any(isinstance(item, Mirrored) for item in worker.sent), 30, "the end")
    let_pins_end()
    wish = worker.wishes.current(Role.DEPOSITORY, "mirror.m-long")
    assert wish is not None
    worker.role.converge(wish)
    assert all(timer.pinned_until > time.time() for timer in box.holdings.timers())


def test_of_an_index_only_the_wanted_architectures_are_fetched(
    worker: Worker, box: FakeBox, upstream: Upstream
) -> None:
    amd, arm = Image(1000, repository="many"), Image(900, repository="many", seed=2, architecture="arm64")
    digest = upstream.push_index("1", (amd, "amd64"), (arm, "arm64"))
    report = worker.mirror(f"{upstream.host}/many:1", secret=(USER, PASSWORD), architectures=["arm64"])
    assert isinstance(report, Mirrored), report
    assert report.image.digest == digest
    assert [(item.digest, item.architecture) for item in report.image.variants] == [(arm.digest, "arm64")]
    assert box.holdings.digests() == {digest, *arm.by_digest}
    both = worker.mirror(f"{upstream.host}/many@{digest}", secret=(USER, PASSWORD))
    assert isinstance(both, Mirrored), both
    assert [item.architecture for item in both.image.variants] == ["amd64", "arm64"]


@pytest.mark.parametrize(
    ("name", "secret", "said"),
    [
        ("site:1.0", None, "wants a name and password"),
        ("site:1.0", (USER, "wrong"), "does not accept this name and password"),
        ("nothing:1", (USER, PASSWORD), "has no nothing:1"),
    ],
)
def test_what_the_registry_does_not_give_fails_with_its_reason(
    worker: Worker, upstream: Upstream, name: str, secret: tuple[str, str] | None, said: str
) -> None:
    report = worker.mirror(f"{upstream.host}/{name}", secret=secret)
    assert isinstance(report, Failed)
    assert said in report.message
    assert "wrong" not in report.message


def test_an_architecture_that_is_not_there_is_named(worker: Worker, upstream: Upstream) -> None:
    upstream.push_index("2", (Image(100, repository="few"), "amd64"))
    report = worker.mirror(f"{upstream.host}/few:2", secret=(USER, PASSWORD), architectures=["riscv64"])
    assert isinstance(report, Failed)
    assert "is for amd64, not for riscv64" in report.message


@pytest.mark.parametrize("host", ["127.0.0.1:1", "registry.invalid"])
def test_without_a_connection_it_says_so_at_once(worker: Worker, host: str) -> None:
    report = worker.mirror(f"{host}/site:1")
    assert isinstance(report, Failed)
    assert f"{host} cannot be reached from this box" in report.message
    assert "Is there a connection" in report.message


def test_a_fetch_that_breaks_off_goes_on_where_it_was_and_no_credentials_leave_the_registry(
    worker: Worker, box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "PAUSE_S", 0.01)
    image = Image(400_000, repository="site")
    with run_faulty(faulty_of(image, "1", break_after=150_000)) as faulty:
        report = worker.mirror(f"{faulty.host}/site:1", secret=(USER, PASSWORD))
    assert isinstance(report, Mirrored), report
    assert set(image.by_digest) <= box.holdings.digests()
    ranges = [header for path, header in faulty.asked if path.startswith("/content/") and header]
    assert ranges[:2] == ["bytes=150000-", "bytes=300000-"]
    assert faulty.leaked == []


def test_the_next_try_goes_on_from_what_the_last_one_left(
    worker: Worker, box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "PAUSE_S", 0.01)
    monkeypatch.setattr(mirroring, "TRIES", 2)
    image = Image(400_000, repository="site")
    layer = list(image.by_digest)[2]
    with run_faulty(faulty_of(image, "1")) as faulty:
        kept = box.holdings.store.ingest_path(f"{layer.removeprefix('sha256:')}.mirror")
        kept.write_bytes(image.layers[0][:123_456])
        report = worker.mirror(f"{faulty.host}/site:1", secret=(USER, PASSWORD))
        assert isinstance(report, Mirrored), report
        assert ("/content/" + layer, "bytes=123456-") in faulty.asked


def test_a_registry_that_lies_gives_nothing_that_is_kept(worker: Worker, box: FakeBox) -> None:
    image = Image(50_000, repository="site")
    with run_faulty(faulty_of(image, "1", lies=True)) as faulty:
        report = worker.mirror(f"{faulty.host}/site:1", secret=(USER, PASSWORD))
    assert isinstance(report, Failed)
    assert "bad blob" in report.message
    assert box.holdings.digests() == set()
    assert list((box.paths.store / "ingest").iterdir()) == []


def test_what_does_not_fit_into_the_lent_space_is_not_begun(
    make_box: MakeBox, redis_server: RedisServer, upstream: Upstream
) -> None:
    small = make_box("small", lent_bytes=10_000)
    upstream.push(Image(300_000, repository="large"), "1")
    worker = Worker(small, redis_server.url)
    try:
        report = worker.mirror(f"{upstream.host}/large:1", secret=(USER, PASSWORD))
    finally:
        worker.jobs.close()
    assert isinstance(report, Failed)
    assert report.reason == "no-room"
    assert "lent space" in report.message
    assert small.holdings.digests() == set()


def test_progress_is_told_and_a_withdrawn_wish_ends_the_fetch(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(mirroring, "PAUSE_S", 0.01)
    image = Image(40_000_000, repository="site")  # thousands of broken answers
    with run_faulty(faulty_of(image, "1", break_after=10_000)) as faulty:
        worker.wish("mirror.m-x", f"{faulty.host}/site:1", (USER, PASSWORD))
        wait_until(lambda: any(isinstance(item, MirrorProgress) for item in worker.sent), 20, "progress")
        worker.redis.hdel(names.wish_key("dep-1"), wish_field(Role.DEPOSITORY, "mirror.m-x"))
        for field in worker.wishes.refresh():
            worker.wishes.forget(field)
        wait_until(lambda: not worker.jobs.is_running(("mirror", "mirror.m-x")), 20, "the end of the fetch")
    assert not any(isinstance(item, Mirrored | Failed) for item in worker.sent)
    told = [item for item in worker.sent if isinstance(item, MirrorProgress)]
    assert 0 <= told[-1].done_bytes < told[-1].size_bytes
