"""A master for tests: real SQLite and Redis, and boxes that are only status records."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from common import names
from common.settings import Settings
from common.signing import SealKey, Verifier
from common.status import BoxStatus, DiskUse, FilesetHolding
from common.wishes import Wish, read_wish
from common.words import BoxKind, Coordinate, Endpoint, Resources, Role, new_id
from master.accounts.models import User
from master.boxes.models import Box
from master.catalogue.manifest import parse_manifest
from master.catalogue.models import Application
from master.catalogue.services import publish
from master.context import MasterContext, make_context
from master.db.models import Base
from master.filesets.models import Fileset, FilesetCopy, FilesetKind
from master.images.models import Image, Tag

GIB = 2**30


def make_master(directory: Path, redis_url: str, **values: object) -> MasterContext:
    """A master context over an empty database, with the epoch ready."""
    conf = Settings(state_dir=directory, redis_url=redis_url, **values)  # type: ignore[arg-type]
    context = make_context(conf, queues=[names.LIFECYCLE_QUEUE, names.SCHEDULER_QUEUE])
    Base.metadata.create_all(context.database.engine)
    context.redis.set(names.EPOCH, "e1")
    context.redis.set(names.EPOCH_READY, "e1")
    return context


def digest_of(text: str) -> str:
    """A digest for something made up."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class FakeBox:
    """A box as the master sees it: a row, a status record, layers, and the wishes that it got."""

    def __init__(self, context: MasterContext, name: str, **status: object) -> None:
        self.context = context
        self.name = name
        self.seal_key = SealKey(SealKey.generate())
        self.layers: set[str] = set()
        self.status = BoxStatus(
            box=name,
            epoch="b1",
            sequence=0,
            redis_epoch="e1",
            at=time.time(),
            **{  # type: ignore[arg-type]
                "roles": frozenset(Role),
                "kind": BoxKind.DESKTOP,
                "open": True,
                "fixed": True,
                "architecture": "amd64",
                "capacity": Resources(cpu=2, memory_bytes=4 * GIB, bandwidth_bps=10**8),
                "used": Resources(),
                "disk": DiskUse(lent_bytes=100 * GIB),
                "front": Endpoint(host="127.0.0.1", port=8090),
                "filestore": Endpoint(host="127.0.0.1", port=8091),
                "coordinate": Coordinate(),
                **status,
            },
        )
        with context.database.write() as session:
            session.add(
                Box(
                    id=name,
                    kind="desktop",
                    roles=sorted(role.value for role in self.status.roles),
                    open=self.status.open,
                    fixed=self.status.fixed,
                    address=self.status.front.host if self.status.front else "127.0.0.1",
                    seal_key=self.seal_key.public_key,
                    certificate="",
                )
            )
        context.redis.sadd(names.BOXES, name)
        self.beat()

    def beat(self, **status: object) -> None:
        """Write the status record."""
        self.status = self.status.model_copy(update={"sequence": self.status.sequence + 1, **status})
        self.context.redis.set(names.status_key(self.name), self.status.model_dump_json())

    def go_silent(self) -> None:
        """Let the status record expire."""
        self.context.redis.delete(names.status_key(self.name))

    def hold(self, digests: Iterable[str]) -> None:
        """Hold these layers."""
        self.layers |= set(digests)
        self.context.redis.sadd(names.layers_key(self.name), *self.layers)
        self.beat(layers_sequence=self.status.layers_sequence + 1)

    def hold_fileset(self, fileset: str, version: int = 1) -> None:
        """Hold a fileset."""
        self.beat(filesets=[*self.status.filesets, FilesetHolding(fileset=fileset, version=version)])

    def wishes(self) -> dict[str, Wish]:
        """What the master wants of this box now."""
        verifier = Verifier(self.context.signer.public_key)
        fields = self.context.redis.hgetall(names.wish_key(self.name))
        return {str(field): read_wish(verifier, self.name, str(token)) for field, token in fields.items()}


def add_user(context: MasterContext, name: str = "ada", role: str = "user") -> User:
    """A person."""
    with context.database.write() as session:
        user = User(id=new_id("u"), name=name, password_hash="x", role=role)
        session.add(user)
    return user


def add_image(context: MasterContext, reference: str, *, architecture: str = "amd64") -> Image:
    """An image of a manifest, a config and two layers."""
    repository, tag = reference.split(":")
    parts = {"manifest": 500, "config": 1000, "layer1": 10_000_000, "layer2": 5_000_000}
    blobs = [
        {"digest": digest_of(f"{reference}/{part}"), "size_bytes": size, "media_type": f"application/{part}"}
        for part, size in parts.items()
    ]
    with context.database.write() as session:
        image = Image(
            digest=blobs[0]["digest"],
            media_type="application/vnd.oci.image.manifest.v1+json",
            architecture=architecture,
            size_bytes=sum(parts.values()),
            blobs=blobs,
        )
        session.add(image)
        session.flush()
        session.add(Tag(repository=repository, tag=tag, digest=image.digest))
    return image


def image_digests(image: Image) -> list[str]:
    """The digests of all blobs of an image."""
    return [blob["digest"] for blob in image.blobs]


def add_application(context: MasterContext, name: str, image: str, **service: object) -> Application:
    """An application of one service."""
    manifest = {
        "openraas": 1,
        "name": name,
        "title": name.title(),
        "services": {
            "main": {
                "image": image,
                "port": 80,
                "resources": {"cpu": 1, "memory": "1GiB", "disk": "1GiB"},
                **{key: value for key, value in service.items() if key != "options"},
            }
        },
        "options": service.get("options", []),
    }
    with context.database.write() as session:
        return publish(session, parse_manifest(manifest), None)


def add_fileset(context: MasterContext, name: str, box: FakeBox) -> Fileset:
    """A public fileset that lies on a box."""
    with context.database.write() as session:
        fileset = Fileset(
            id=new_id("f"), name=name, kind=FilesetKind.PUBLIC.value, version=1, offered_version=1
        )
        fileset.copies.append(FilesetCopy(box_id=box.name, version=1))
        session.add(fileset)
    box.hold_fileset(fileset.id)
    return fileset
