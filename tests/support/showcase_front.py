"""The front of a box with what pages ask of one: what instances use, a home, pictures of screens."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from common.use import InstanceUse
from common.words import Endpoint
from tests.support.master import GIB
from workers.gateway.desktop.rfb import Picture
from workers.gateway.desktop.thumbnail import png

DAY_S = 86400
NOTE = "Monday: the layers of the three images share 61 % of their bytes.\n"
ENTRIES = (("thesis", "folder", 0, 0.1), ("pictures", "folder", 0, 3), ("notes.txt", "file", len(NOTE), 0.2),
           ("results.parquet", "file", 48_300_000, 2), ("scene.blend", "file", 310_400_000, 9))  # fmt: skip
WIDTH, HEIGHT = 320, 180


@contextmanager
def run_front() -> Iterator[Endpoint]:
    """Serve it on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Endpoint(host="127.0.0.1", port=server.server_port)
        finally:
            server.shutdown()
            thread.join(5)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        body = b""
        if path.startswith("/_openraas/use/"):
            body = _use(time.time()).model_dump_json().encode()
        elif path.startswith("/_openraas/pictures/"):
            body = _screen()
        elif path.startswith("/_openraas/people/"):
            since = time.time() - 240
            person = {"name": "ada", "mode": "control", "share": None, "since": since}
            body = json.dumps({"people": [person]}).encode()
        elif path.startswith("/files/"):
            body = _files(path.rpartition("/")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _use(at: float) -> InstanceUse:
    """Sums that grow, now faster, now slower."""
    since_s = at % 10_000
    return InstanceUse(
        at=at,
        cpu_s=0.6 * since_s + 0.5 * math.sin(since_s),
        memory_bytes=round(420 * 2**20 + 30 * 2**20 * math.sin(since_s / 3)),
        memory_limit_bytes=GIB,
        received_bytes=round(2e6 * since_s + 1e6 * math.sin(since_s / 2)),
        sent_bytes=round(3e5 * since_s + 2e5 * math.sin(since_s)),
    )


def _files(verb: str) -> bytes:
    """A home of a few files."""
    if verb == "content":
        return NOTE.encode()
    if verb == "usage":
        name, _, size_bytes, _ = ENTRIES[-1]
        largest = [{"path": name, "shown": name, "size_bytes": size_bytes}]
        return json.dumps({"free_bytes": 7 * GIB, "size_bytes": 10 * GIB, "largest": largest}).encode()
    entries = [
        {
            "path": name,
            "name": name,
            "kind": kind,
            "size_bytes": size,
            "modified_at": time.time() - days * DAY_S,
        }
        for name, kind, size, days in ENTRIES
    ]
    answer = {"file": False, "entries": entries, "total": len(entries), "cut": False}
    return json.dumps(answer).encode()


def _screen() -> bytes:
    """A window on a ground, over a bar."""
    rows = bytearray()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            inside = 60 < x < 260 and 30 < y < 140
            colour = (0x25, 0x2B, 0x36) if y > HEIGHT - 12 else (0x2F, 0x6F, 0x8F)
            if inside:
                colour = (0xD5, 0xDB, 0xE2) if y > 42 else (0x3A, 0x41, 0x50)
            rows += bytes((*colour, 0))
    return png(Picture(WIDTH, HEIGHT, bytes(rows)))
