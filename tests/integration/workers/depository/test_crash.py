"""What the front process has verified survives its sudden end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from common.errors import OpenRaaSError
from common.wishes import ImageSource
from tests.support.depository import FakeBox, FakeMaster, Image
from tests.support.redis import free_port, wait_until
from workers.box.config import NICENESS, BoxConfig, BoxPaths
from workers.depository.client import SOCKET, LayersClient

START_S = 60.0
MakeBox = Callable[..., FakeBox]


@contextmanager
def front(box: FakeBox, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The box's front as a process of its own, killed at the end."""
    config = f'box = "{box.name}"\nroles = ["depository"]\nloopback_port = {port}\n'
    (box.config.state_dir / "box.toml").write_text(config)
    assert BoxConfig.load(box.config.state_dir).box == box.name
    (box.paths.run / SOCKET).unlink(missing_ok=True)
    command = [sys.executable, "-m", "common", "box", "front", "--state-dir", str(box.config.state_dir)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        # The socket's file is there a moment before anybody listens.
        wait_until(lambda: answers(LayersClient(box.paths)), START_S, "the front process")
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def answers(client: LayersClient) -> bool:
    """Whether somebody listens."""
    try:
        client.running()
    except OpenRaaSError:
        return False
    return True


def hold_until_the_end_of_the_front(client: LayersClient, source: ImageSource) -> None:
    """As the worker does, which tries again later."""
    with suppress(OpenRaaSError):
        client.hold(source)


def arrived_bytes(paths: BoxPaths, manifest: str) -> int:
    """What the transfer has verified so far."""
    try:
        return LayersClient(paths).transfer(manifest).size_bytes
    except OpenRaaSError:
        return 0


def test_no_verified_chunk_is_fetched_again_after_the_front_was_killed(
    make_box: MakeBox, master: FakeMaster
) -> None:
    image = Image(2_000_000, 3_000_000)
    seed = make_box("seed", layers_out_bps=20_000_000)
    seed.hold(image)
    reader = make_box("reader")
    reader.stop()
    source = image.source(master, {"seed": seed.endpoint})
    client, port = LayersClient(reader.paths), free_port()
    holding = threading.Thread(target=hold_until_the_end_of_the_front, args=(client, source))
    with front(reader, port):
        holding.start()
        wait_until(
            lambda: arrived_bytes(reader.paths, image.digest) > image.size_bytes // 3, START_S, "a third"
        )
        before = arrived_bytes(reader.paths, image.digest)
    holding.join(20)
    with front(reader, port):
        facts = client.hold(source)
    assert facts.state == "done"
    assert reader.holdings.digests() == set(image.by_digest)
    # Of what came between the last look and the end nothing is known, but it was not fetched again either.
    assert facts.size_bytes <= image.size_bytes - before
    assert facts.size_bytes > 0


def test_the_front_goes_before_what_was_started_with_the_same_priority(make_box: MakeBox) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may take a priority")
    box = make_box("reader")
    box.stop()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with front(box, free_port()) as process:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(-20, own + NICENESS)
