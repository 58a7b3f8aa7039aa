"""What goes wrong in a round of chaos, and the images that are fetched meanwhile: all of it from one seed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.oci.chunks import measure
from tests.benchmarks.layers.image import ARCHITECTURES, CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Image, Part
from tests.benchmarks.layers.world import Machine

TOP = "tree"
FILES_PER_LAYER = 25
# Most files are small, some span several chunks.
MOST_SMALL_BYTES = 30_000
LARGE_BYTES = (1_500_000, 4_500_000)
WHITEOUT = ".wh."
WATCH_EVERY_S = 0.02


@dataclass(frozen=True)
class Entry:
    """What makes one path of a file tree: permissions, size, content (or where a link points)."""

    mode: int
    size_bytes: int
    content: str


Tree = dict[str, Entry]


def random_image(directory: Path, layers: int, dice: random.Random) -> tuple[Image, Tree]:
    """An image in which later layers add, replace and remove files; and the tree that it must unpack to."""
    tree: Tree = {}
    parts, diffs = [], []
    for number in range(layers):
        raw = _layer(tree, dice)
        diffs.append(f"sha256:{hashlib.sha256(raw).hexdigest()}")
        parts.append(_part(directory / f"layer-{number}", gzip.compress(raw, 1, mtime=0), LAYER_TYPE))
    described = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    config = _part(directory / "config", json.dumps(described).encode(), CONFIG_TYPE)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(config),
        "layers": [_descriptor(part) for part in parts],
    }
    top = _part(directory / "manifest", json.dumps(manifest).encode(), MANIFEST_TYPE)
    return Image([top, config, *parts]), tree


def _part(path: Path, data: bytes, media_type: str) -> Part:
    path.write_bytes(data)
    with path.open("rb") as file:
        return Part(path, media_type, measure(file))


def _descriptor(part: Part) -> dict[str, object]:
    measured = part.measured
    return {"mediaType": part.media_type, "digest": measured.digest, "size": measured.size_bytes}


def _layer(tree: Tree, dice: random.Random) -> bytes:
    """One layer's tar; `tree` is brought to what lies there once it is unpacked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        old = sorted(tree)
        for path in dice.sample(old, min(len(old), 3)):
            del tree[path]
            folder, _, name = path.rpartition("/")
            tar.addfile(tarfile.TarInfo(f"{folder}/{WHITEOUT}{name}"))
        replaced = dice.sample(sorted(tree), min(len(tree), 3))
        fresh = [f"{TOP}/{dice.randrange(4)}/{dice.randbytes(6).hex()}" for _ in range(FILES_PER_LAYER)]
        for number, path in enumerate([*fresh, *replaced]):
            large = number == 0
            size = dice.randint(*LARGE_BYTES) if large else dice.randrange(MOST_SMALL_BYTES)
            _add(tar, tree, path, dice.randbytes(size), dice)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, tree: Tree, path: str, data: bytes, dice: random.Random) -> None:
    info = tarfile.TarInfo(path)
    info.mode = dice.choice((0o644, 0o600, 0o755, 0o4755, 0o440))
    if dice.random() < 0.1:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, f"../{dice.randbytes(3).hex()}", 0o777
        tree[path] = Entry(info.mode, 0, f"-> {info.linkname}")
        tar.addfile(info)
        return
    info.size = len(data)
    tree[path] = Entry(info.mode, len(data), hashlib.sha256(data).hexdigest())
    tar.addfile(info, io.BytesIO(data))


def exported_tree(tar: tarfile.TarFile) -> Tree:
    """The files under TOP in what an engine exports of a container."""
    found: Tree = {}
    for member in tar:
        path = member.name.removeprefix("./")
        if not path.startswith(f"{TOP}/") or member.isdir():
            continue
        # Docker's tars have the kind of file in the mode as well.
        mode = member.mode & 0o7777
        if member.issym():
            found[path] = Entry(mode, 0, f"-> {member.linkname}")
            continue
        # What is the same file twice comes as a hard link; none was put in.
        content = tar.extractfile(member)
        digest = hashlib.sha256(content.read()).hexdigest() if content is not None else member.linkname
        found[path] = Entry(mode, member.size, digest)
    return found


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong once `after` of the image's bytes have come, until `until` have or it is over."""

    name: str
    after: float
    until: float
    begin: Callable[[], None]
    end: Callable[[], None]


@contextmanager
def going_wrong(reader: Machine, wire_bytes: int, faults: list[Fault]) -> Iterator[list[str]]:
    """Let faults happen by how much has come over the reader's link; undone at the end. Gives what happened."""
    base, over = reader.received_bytes(), threading.Event()
    happened: list[str] = []
    errors: list[Exception] = []
    waiting, under_way = sorted(faults, key=lambda fault: fault.after), list[Fault]()

    def look() -> None:
        come = (reader.received_bytes() - base) / wire_bytes
        for fault in [item for item in under_way if item.until <= come]:
            under_way.remove(fault)
            fault.end()
        for fault in [item for item in waiting if item.after <= come]:
            waiting.remove(fault)
            under_way.append(fault)
            happened.append(fault.name)
            fault.begin()

    def watch() -> None:
        try:
            while not over.wait(WATCH_EVERY_S):
                look()
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield happened
    finally:
        over.set()
        thread.join()
        for fault in under_way:
            fault.end()
    if errors:
        raise errors[0]
