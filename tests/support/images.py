"""Images as depositories tell the master of them."""

from __future__ import annotations

import hashlib
import json

from common.images import BlobRef
from common.oci.manifests import OCI_MANIFEST
from common.reports import BlobHeld, Held
from common.wishes import ChunkList
from master.context import MasterContext
from master.images import services
from master.images.models import Image

CONFIG = b'{"architecture": "amd64"}'


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_of(*layers: bytes, media_type: str = OCI_MANIFEST) -> str:
    def descriptor(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": f"application/{kind}", "digest": digest(data), "size": len(data)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(CONFIG, "config"),
            "layers": [descriptor(layer, "layer") for layer in layers],
        }
    )


def new_tag(name: str, *layers: bytes) -> services.NewTag:
    text = manifest_of(*layers)
    own = digest(text.encode())
    parts = [
        (own, len(text)),
        (digest(CONFIG), len(CONFIG)),
        *((digest(layer), len(layer)) for layer in layers),
    ]
    kinds = [OCI_MANIFEST, "application/config", *["application/layer"] * len(layers)]
    repository, tag = services.split_reference(name)
    return services.NewTag(
        repository=repository,
        tag=tag,
        digest=own,
        media_type=OCI_MANIFEST,
        manifest=text,
        blobs=[
            BlobRef(digest=item, size_bytes=size, media_type=kind)
            for (item, size), kind in zip(parts, kinds, strict=True)
        ],
        config=CONFIG.decode(),
        architecture="amd64",
    )


def push(master: MasterContext, box: str, name: str, *layers: bytes) -> Image:
    with master.database.write() as session:
        return services.set_tag(session, new_tag(name, *layers), box=box, owner=None)


def held(image: Image, *, chunks: str = "a", only: int | None = None) -> Held:
    blobs = [
        BlobHeld(
            digest=blob.digest,
            size_bytes=blob.size_bytes,
            chunk_list=ChunkList(
                blob=blob.digest,
                size_bytes=blob.size_bytes,
                chunk_bytes=2**21,
                chunks=[hashlib.sha256(chunks.encode()).hexdigest()],
            ),
        )
        for blob in services.blobs_of(image)
    ]
    return Held(subject="image.1", generation=1, blobs=blobs[:only])


def report(master: MasterContext, box: str, facts: Held) -> None:
    with master.database.write() as session:
        services.record_held(session, master.redis, box, facts)
