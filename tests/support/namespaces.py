"""Network namespaces for tests, and a way to run Python inside one."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def namespace(kind: str) -> Iterator[str]:
    """A network namespace with its loopback up; gone afterwards, with every interface in it."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    name = f"orst{secrets.token_hex(3)}{kind}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "delete", name)


def link(one: str, its_address: str, other: str, others_address: str) -> None:
    """Join two namespaces by a cable; addresses are written with their prefix length."""
    ip("-n", one, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other)
    for name, address in ((one, its_address), (other, others_address)):
        ip("-n", name, "address", "add", address, "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")


def inside(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread that lives in the namespace, as do all threads and programs that it starts."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with Path(f"/run/netns/{name}").open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            answers.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


@contextmanager
def web_servers(name: str, *addresses: str) -> Iterator[None]:
    """An HTTP server on port 80 of these addresses in a namespace."""
    script = (
        "import sys, threading, http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "  def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'reached')\n"
        "  def log_message(self, *a): pass\n"
        "for a in sys.argv[1:]:\n"
        "  s = h.ThreadingHTTPServer((a, 80), H); threading.Thread(target=s.serve_forever).start()\n"
        "print('ready', flush=True)\n"
    )
    command = ["nsenter", f"--net=/run/netns/{name}", "python3", "-c", script, *addresses]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
