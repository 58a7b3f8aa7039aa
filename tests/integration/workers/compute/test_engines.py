"""What every container engine must do: the same tests against all that are on this machine."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import EngineServer
from tests.support.redis import wait_until
from tests.support.registry import Registry, TestImage, make_image, run_registry
from workers.compute.engine import Bind, ContainerSpec, Engine, NetworkSpec
from workers.compute.engines import find_engine
from workers.compute.errors import (
    BadImage,
    EngineUnavailable,
    ImageMissing,
    NetworkTaken,
    PullCancelled,
    PullFailed,
)
from workers.compute.launch import image_reference
from workers.compute.log_source import LiveOutput, open_output
from workers.compute.use_source import read_use

pytestmark = pytest.mark.engine

LABELS = {"openraas.box": "conformance"}
SUBNET = "10.213.251.0/28"
ADDRESS = "10.213.251.2"


@pytest.fixture(scope="module")
def image() -> TestImage:
    return make_image()


@pytest.fixture(scope="module")
def registry(image: TestImage) -> Iterator[Registry]:
    with run_registry(image, make_image("frozen")) as running:
        yield running


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    server: EngineServer = request.getfixturevalue(f"{request.param}_server")
    found = find_engine(server.url)
    assert found.name == request.param
    return found


@pytest.fixture(scope="module")
def reference(engine: Engine, registry: Registry, image: TestImage) -> str:
    wanted = f"127.0.0.1:{registry.port}/sample@{image.manifest}"
    engine.pull(wanted).wait()
    return wanted


@pytest.fixture
def network(engine: Engine) -> Iterator[NetworkSpec]:
    spec = NetworkSpec("conformance-net", "orsconform", SUBNET, "10.213.251.1", LABELS)
    engine.create_network(spec)
    yield spec
    for container in engine.containers(LABELS):
        engine.remove(container.id)
    for identity in engine.networks(LABELS).values():
        engine.remove_network(identity)


@pytest.fixture
def spec(reference: str, network: NetworkSpec) -> ContainerSpec:
    return ContainerSpec(
        name="conformance-1",
        image=reference,
        hostname="i-1",
        labels={**LABELS, "openraas.instance": "i-1"},
        network=network.name,
        address=ADDRESS,
        aliases=("web",),
        cpu=0.5,
        memory_bytes=64 * 2**20,
        pids=50,
        command=("httpd", "-f", "-p", "8000", "-h", "/www"),
    )


def _page(path: str = "/") -> str:
    with urllib.request.urlopen(f"http://{ADDRESS}:8000{path}", timeout=2) as answer:
        return str(answer.read().decode())


def _answers() -> bool:
    try:
        return bool(_page())
    except OSError:
        return False


def _status() -> int:
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}:8000/", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _output(engine: Engine, spec: ContainerSpec, *command: str, **changes: object) -> str:
    """What a container of this kind prints until it ends."""
    container = engine.create(dataclasses.replace(spec, command=command, **changes))  # type: ignore[arg-type]
    engine.start(container)

    def ended() -> bool:
        facts = engine.inspect(container)
        return facts is not None and not facts.running

    wait_until(ended, 10, "the container's end")
    return engine.logs(container, lines=100).decode()


def test_a_pulled_image_is_there_and_an_unknown_one_is_not(engine: Engine, reference: str) -> None:
    assert engine.has_image(reference)
    assert not engine.has_image(reference[:-4] + "0000")


def test_an_image_that_nobody_has_cannot_be_pulled(engine: Engine, registry: Registry) -> None:
    with pytest.raises((PullFailed, BadImage), match="nothing@sha256"):
        engine.pull(f"127.0.0.1:{registry.port}/nothing@sha256:{'0' * 64}").wait()


def test_a_pull_from_a_silent_source_ends_when_it_is_cancelled(engine: Engine, registry: Registry) -> None:
    registry.frozen.set()
    registry.asked.clear()
    pull = engine.pull(f"127.0.0.1:{registry.port}/sample@{make_image('frozen').manifest}")
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            pull.wait()
        except BaseException as error:  # noqa: BLE001
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        assert registry.asked.wait(10)
        pull.cancel()
        thread.join(2)
        assert not thread.is_alive()
        assert isinstance(outcome[0], PullCancelled)
    finally:
        registry.frozen.clear()
        thread.join(10)


def test_a_container_serves_at_the_address_that_it_was_given(engine: Engine, spec: ContainerSpec) -> None:
    container = engine.create(spec)
    engine.start(container)
    wait_until(_answers, 10, "the page")
    assert _page() == "hello from the container\n"
    facts = engine.inspect(container)
    assert facts is not None
    assert facts.running
    assert [item.labels["openraas.instance"] for item in engine.containers(LABELS)] == ["i-1"]


def test_limits_and_rights_are_those_of_the_wish(engine: Engine, spec: ContainerSpec) -> None:
    shown = _output(
        engine, spec, "sh", "-c", "id -u; cat /proc/self/status /proc/self/limits; touch /x /tmp/y; ls /tmp; env",
        user="1000", read_only_root=True, writable=("/tmp",), environment={"GREETING": "hello"},
    )  # fmt: skip
    lines = shown.splitlines()
    assert "1000" in lines
    for word in ("CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert word in lines
    assert "Read-only file system" in shown
    assert "y" in lines
    assert "GREETING=hello" in lines
    assert "HOSTNAME=i-1" in lines


def test_capabilities_that_the_manifest_asks_for_are_given_back(engine: Engine, spec: ContainerSpec) -> None:
    shown = _output(engine, spec, "cat", "/proc/self/status", capabilities=("NET_BIND_SERVICE",))
    assert "CapBnd:\t0000000000000400" in shown


def test_a_container_over_its_memory_limit_is_known_to_be(engine: Engine, spec: ContainerSpec) -> None:
    small = dataclasses.replace(
        spec, memory_bytes=8 * 2**20, command=("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    )
    container = engine.create(small)
    engine.start(container)

    def ended() -> bool:
        facts = engine.inspect(container)
        return facts is not None and not facts.running

    wait_until(ended, 10, "the container's end")
    facts = engine.inspect(container)
    assert facts is not None
    assert facts.exit_code == 137


@pytest.fixture
def shared_directory(tmp_path: Path) -> Iterator[Path]:
    """A mount point that passes on what is mounted below it, as the box's own directory of mounts is."""
    directory = tmp_path / "shared"
    directory.mkdir()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    yield directory
    subprocess.run(["umount", "-R", "-l", directory], check=True)


def test_a_directory_of_the_box_is_seen_inside(
    engine: Engine, spec: ContainerSpec, shared_directory: Path
) -> None:
    (shared_directory / "file").write_text("from the box\n")
    binds = (Bind(str(shared_directory), "/data", read_only=True),)
    shown = _output(engine, spec, "sh", "-c", "cat /data/file; touch /data/new", binds=binds)
    assert "from the box" in shown
    assert "Read-only file system" in shown


def test_what_is_mounted_anew_on_the_box_is_seen_in_a_running_container(
    engine: Engine, spec: ContainerSpec, shared_directory: Path
) -> None:
    (shared_directory / "home").mkdir()
    binds = (Bind(str(shared_directory), "/www", read_only=False),)
    engine.start(engine.create(dataclasses.replace(spec, binds=binds)))
    wait_until(lambda: _status() == 404, 10, "the server's answer")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared_directory / "home"], check=True)
    (shared_directory / "home" / "late").write_text("mounted later\n")
    assert _page("/home/late") == "mounted later\n"


def test_the_same_name_replaces_what_was_left_over(engine: Engine, spec: ContainerSpec) -> None:
    first = engine.create(spec)
    engine.start(first)
    second = engine.create(spec)
    assert engine.inspect(first) is None
    assert engine.inspect(second) is not None


def test_what_is_not_there_can_be_stopped_and_removed(engine: Engine) -> None:
    engine.stop("conformance-none", grace_s=1)
    engine.remove("conformance-none")
    engine.remove_network("conformance-none")
    assert engine.inspect("conformance-none") is None
    assert engine.logs("conformance-none", lines=5) == b""


def test_the_end_of_a_container_is_told_at_once(engine: Engine, spec: ContainerSpec) -> None:
    told: list[str] = []
    listening = threading.Thread(target=lambda: told.append(next(iter(engine.exits(LABELS)))), daemon=True)
    listening.start()
    time.sleep(0.3)  # the engine does not say when it has begun to tell
    container = engine.create(dataclasses.replace(spec, command=("sh", "-c", "echo last words; exit 3")))
    engine.start(container)
    wait_until(lambda: bool(told), 10, "the event")
    assert told == [container]
    facts = engine.inspect(container)
    assert facts is not None
    assert (facts.running, facts.exit_code) == (False, 3)
    assert b"last words" in engine.logs(container, lines=5)


def test_a_paused_container_does_nothing_and_goes_on_where_it_was(
    engine: Engine, spec: ContainerSpec
) -> None:
    busy = ("sh", "-c", "httpd -p 8000 -h /www; while :; do :; done")
    container = engine.create(dataclasses.replace(spec, command=busy))
    engine.start(container)
    wait_until(_answers, 10, "an answer")
    used_s = engine.cpu_s(container)
    wait_until(lambda: engine.cpu_s(container) > used_s, 20, "some processor time")
    engine.pause(container)
    assert [facts.running for facts in engine.containers(LABELS)] == [True], "it has not ended"
    with pytest.raises(OSError, match="timed out"):
        _page()
    engine.wake(container)
    engine.wake(container)  # once more does no harm
    wait_until(_answers, 10, "an answer")
    engine.pause(container)
    engine.remove(container)
    assert engine.inspect(container) is None


def test_a_user_that_the_image_lacks_is_the_images_fault(engine: Engine, spec: ContainerSpec) -> None:
    with pytest.raises(BadImage):
        engine.start(engine.create(dataclasses.replace(spec, user="nobody-here")))


def test_a_command_that_the_image_lacks_is_named(engine: Engine, spec: ContainerSpec) -> None:
    # With an init process the container starts and ends at once; without one it does not start.
    try:
        said = _output(engine, spec, "/no/such/program")
    except BadImage as error:
        said = str(error)
    assert "/no/such/program" in said


def test_a_container_of_an_unknown_image_cannot_be_made(engine: Engine, spec: ContainerSpec) -> None:
    missing = spec.image[: spec.image.index("@")] + "@sha256:" + "0" * 64
    with pytest.raises(ImageMissing):
        engine.create(dataclasses.replace(spec, image=missing))


def test_what_a_container_wrote_is_counted(engine: Engine, spec: ContainerSpec) -> None:
    _output(engine, spec, "dd", "if=/dev/zero", "of=/tmp/written", "bs=1M", "count=3")
    container = engine.containers(LABELS)[0].id
    assert engine.writable_bytes(container) >= 3 * 2**20


def test_addresses_that_are_in_use_are_refused(engine: Engine, network: NetworkSpec) -> None:
    other = dataclasses.replace(network, name="conformance-net-2", bridge="orsconform2")
    with pytest.raises(NetworkTaken):
        engine.create_network(other)


def test_layers_of_our_images_are_counted_with_their_sizes(
    engine: Engine, reference: str, registry: Registry
) -> None:
    stored = engine.images(f"127.0.0.1:{registry.port}")
    assert max(layer.size_bytes for image in stored for layer in image.layers) > 500_000
    assert reference in {name for image in stored for name in image.names}
    assert engine.images("127.0.0.1:1") == []


def test_an_image_goes_unless_a_container_uses_it(
    engine: Engine, spec: ContainerSpec, registry: Registry
) -> None:
    image = make_image("goes")  # of this test alone: an engine gives up one of several names at any time
    registry.images.append(image)
    name = image_reference(image.source(), registry.port)
    engine.pull(name).wait()
    container = engine.create(dataclasses.replace(spec, image=name))
    assert engine.remove_image(name) is False
    assert engine.has_image(name)
    engine.remove(container)
    assert engine.remove_image(name) is True
    assert not engine.has_image(name)
    assert engine.remove_image(name) is True  # it is gone, which is what was wanted


def test_without_an_engine_the_error_names_what_was_tried_and_the_remedy() -> None:
    with pytest.raises(EngineUnavailable, match=r"/nowhere\.sock.*apt-get install docker\.io"):
        find_engine("unix:///nowhere.sock")


@pytest.fixture
def url(request: pytest.FixtureRequest, engine: Engine) -> str:
    server: EngineServer = request.getfixturevalue(f"{engine.name}_server")
    return server.url


def _open(url: str, container: str, *, lines: int = 100, follow: bool = False) -> LiveOutput:
    found = open_output([url], container, lines=lines, follow=follow, timeout_s=10)
    assert found is not None
    return found


def _read(url: str, container: str, **options: int) -> bytes:
    output = _open(url, container, **options)
    try:
        return b"".join(output.pieces())
    finally:
        output.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_output_is_read_without_the_sdk(
    engine: Engine, url: str, spec: ContainerSpec, terminal: bool
) -> None:
    command = ("sh", "-c", "echo one; echo two >&2; echo three; sleep 600")
    container = engine.create(dataclasses.replace(spec, command=command, terminal=terminal))
    engine.start(container)
    wait_until(lambda: len(_read(url, container).splitlines()) == 3, 10, "three lines")
    assert sorted(_read(url, container).split()) == [b"one", b"three", b"two"]
    assert len(_read(url, container, lines=2).splitlines()) == 2


def test_followed_output_comes_as_it_is_printed_and_ends_with_the_container(
    engine: Engine, url: str, spec: ContainerSpec
) -> None:
    command = ("sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo two")
    container = engine.create(dataclasses.replace(spec, command=command))
    engine.start(container)
    output = _open(url, container, follow=True)
    try:
        pieces = output.pieces()
        assert next(piece for piece in pieces if piece) == b"one\n"
        engine._api.exec_start(engine._api.exec_create(container, ["touch", "/tmp/go"])["Id"])  # type: ignore[attr-defined]
        assert b"".join(pieces) == b"two\n"
    finally:
        output.close()


def test_output_of_a_container_that_is_not_there_is_none(url: str, engine: Engine) -> None:
    assert open_output([url], "conformance-none", lines=5, follow=False, timeout_s=5) is None


def test_an_engine_that_is_away_is_told_apart(tmp_path: Path, url: str) -> None:
    nobody = f"unix://{tmp_path}/none.sock"
    assert open_output([nobody, url], "conformance-none", lines=5, follow=False, timeout_s=5) is None
    with pytest.raises(EngineUnavailable):
        open_output([nobody], "conformance-none", lines=5, follow=False, timeout_s=5)


def test_an_engine_says_what_a_container_uses_while_it_runs(
    url: str, engine: Engine, spec: ContainerSpec
) -> None:
    container = engine.create(spec)
    assert read_use([url], container, timeout_s=10) is None
    engine.start(container)
    wait_until(_answers, 10, "its first page")
    found = read_use([url], container, timeout_s=10)
    assert found is not None
    assert found.cpu_s > 0
    assert found.memory_bytes > 0
    assert found.received_bytes > 0
    assert read_use([url], "nothing", timeout_s=10) is None
    with pytest.raises(EngineUnavailable):
        read_use(["unix:///nowhere.sock"], container, timeout_s=10)
