"""Boxes of the benchmark: their state on disk as joining would have left it, and what a placement tells them."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from common.files import write_secret
from common.join import JoinAnswer
from common.oci.store import ContentStore
from common.signing import SealKey, Signer
from common.tickets import LayerTicket, issue
from common.wishes import BlobSource, ImageSource
from common.words import Endpoint, Role
from tests.benchmarks.layers.image import REPOSITORY, Image
from tests.support.certificates import CertificateAuthority
from workers.box.config import BoxConfig, BoxPaths, Identity
from workers.box.table import Table
from workers.depository.holdings import Holdings

FRONT_PORT = 8090
LOOPBACK_PORT = 8092
TICKET_S = 3600.0


class Masterly:
    """What a master would do: certificates, identities, placements."""

    def __init__(self) -> None:
        self.authority = CertificateAuthority("bench")
        self.signer = Signer(secrets.token_bytes(32))

    def admit(self, config: BoxConfig) -> None:
        """Write the state directory of a box."""
        paths = BoxPaths(config.state_dir)
        paths.run.mkdir(parents=True)
        paths.certificate.parent.mkdir(parents=True)
        certificate, key = self.authority.sign(config.address, config.box)
        paths.authority.write_bytes(self.authority.certificate)
        paths.certificate.write_bytes(certificate)
        write_secret(paths.private_key, key.decode())
        answer = JoinAnswer(
            box=config.box,
            certificate="",
            authority="",
            master_key=self.signer.public_key,
            master=Endpoint(host="127.0.0.1", port=1),
            redis_url="redis://127.0.0.1:1/0",
            applications_domain="localhost",
        )
        Identity(answer=answer, seal_key=SealKey.generate()).save(config.state_dir)
        roles = ", ".join(f'"{role.value}"' for role in sorted(config.roles))
        lines = [f'box = "{config.box}"', f'address = "{config.address}"', f"roles = [{roles}]"]
        (config.state_dir / "box.toml").write_text("\n".join(lines) + "\n")

    def place(
        self, image: Image, holders: dict[str, str], fetching: dict[str, str], *, reader: str
    ) -> ImageSource:
        """The image for a box; `holders` and `fetching` are addresses by box."""
        ticket = LayerTicket(
            expires_at=time.time() + TICKET_S,
            box=reader,
            blobs=frozenset(part.measured.digest for part in image.parts),
        )
        blobs = [
            BlobSource(
                digest=part.measured.digest,
                size_bytes=part.measured.size_bytes,
                media_type=part.media_type,
                boxes=sorted(holders),
                chunk_list=part.measured.chunk_list,
            )
            for part in image.parts
        ]
        return ImageSource(
            name=f"{REPOSITORY}:1",
            manifest=image.digest,
            blobs=blobs,
            endpoints={
                box: Endpoint(host=address, port=FRONT_PORT, tls=True)
                for box, address in {**holders, **fetching}.items()
            },
            fetching=sorted(fetching),
            ticket=issue(self.signer, ticket),
        )


def configure(box: str, directory: Path, address: str, role: Role) -> BoxConfig:
    """A box of one role."""
    return BoxConfig(
        box=box, state_dir=directory, address=address, roles=frozenset({role}), front_port=FRONT_PORT
    )


def hold(paths: BoxPaths, images: Iterable[Image]) -> None:
    """Let a box hold images. The bytes are its own: one that lies changes nobody else's."""
    holdings = Holdings(Table(paths.table), ContentStore(paths.store))
    for image in images:
        for part in image.parts:
            target = holdings.store.path(part.measured.digest)
            if not target.exists():
                shutil.copyfile(part.path, target)
                holdings.add(part.measured, part.media_type, REPOSITORY)


def spoil(paths: BoxPaths, image: Image) -> None:
    """From now on the box gives other bytes than those it should."""
    for part in image.parts[1:]:
        with ContentStore(paths.store).path(part.measured.digest).open("r+b") as file:
            for offset in range(0, part.measured.size_bytes, 1 << 20):
                os.pwrite(file.fileno(), b"lie", offset)


def empty(paths: BoxPaths) -> None:
    """Let a box hold nothing."""
    holdings = Holdings(Table(paths.table), ContentStore(paths.store))
    holdings.drop(holdings.digests())
