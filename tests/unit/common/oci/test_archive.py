"""Images are read from docker save and from OCI layouts, and always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from common.oci.archive import BadArchive, open_archive
from common.oci.digest import digest_of
from common.oci.manifests import parse

CONFIG = json.dumps({"architecture": "arm64", "rootfs": {"diff_ids": []}}).encode()
LAYER = b"a layer that is not compressed" * 100


def write_tar(path: Path, members: dict[str, bytes], *, mtime: int = 0) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            tar.addfile(info, io.BytesIO(content))
    return path


def docker_save(layer: bytes = LAYER) -> dict[str, bytes]:
    entry = {"Config": "abc.json", "RepoTags": ["x:1"], "Layers": ["one/layer.tar", "one/layer.tar"]}
    return {"manifest.json": json.dumps([entry]).encode(), "abc.json": CONFIG, "one/layer.tar": layer}


def layout(layer: bytes, layer_type: str, **platform: str) -> dict[str, bytes]:
    def put(content: bytes, media_type: str) -> dict[str, Any]:
        files[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [put(layer, layer_type)],
        "annotations": {"kept": "yes"},
    }
    entry = put(json.dumps(manifest).encode(), manifest["mediaType"])
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return files


def read(path: Path) -> tuple[str, str, list[bytes]]:
    """Digest, architecture and blobs of an archive, all checked against their descriptors."""
    with open_archive(path) as image:
        contents = []
        for blob in image.blobs:
            with blob.open() as file:
                contents.append(file.read())
            assert digest_of(contents[-1]) == blob.descriptor.digest
            assert len(contents[-1]) == blob.descriptor.size_bytes
        parsed = parse(image.manifest, image.media_type)
        assert [item.digest for item in parsed.references] == [digest_of(data) for data in contents]
        return image.digest, image.architecture, contents


def test_docker_save_is_read_and_its_layers_are_compressed(tmp_path: Path) -> None:
    _, architecture, (config, *layers) = read(write_tar(tmp_path / "a.tar", docker_save()))
    assert architecture == "arm64"
    assert config == CONFIG
    assert [gzip.decompress(layer) for layer in layers] == [LAYER, LAYER]


def test_the_same_image_saved_twice_has_the_same_digest(tmp_path: Path) -> None:
    first = read(write_tar(tmp_path / "a.tar", docker_save(), mtime=1))
    second = read(write_tar(tmp_path / "b.tar", docker_save(), mtime=2))
    assert first == second


def test_a_compressed_layer_is_taken_as_it_is(tmp_path: Path) -> None:
    packed = gzip.compress(LAYER)
    _, _, (_, *layers) = read(write_tar(tmp_path / "a.tar", docker_save(packed)))
    assert layers == [packed, packed]


def test_a_layout_keeps_its_manifest_when_its_layers_are_compressed(tmp_path: Path) -> None:
    files = layout(gzip.compress(LAYER), "application/vnd.oci.image.layer.v1.tar+gzip")
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    for name, content in files.items():
        (tmp_path / "dir" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dir" / name).write_bytes(content)
    assert read(tmp_path / "dir")[0] == digest
    assert read(write_tar(tmp_path / "a.tar", files))[0] == digest


def test_a_plain_layer_of_a_layout_is_compressed_and_the_rest_of_the_manifest_stays(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", layout(LAYER, "application/vnd.oci.image.layer.v1.tar"))
    with open_archive(path) as image:
        value = json.loads(image.manifest)
    assert value["annotations"] == {"kept": "yes"}
    assert value["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert gzip.decompress(read(path)[2][1]) == LAYER


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"manifest.json": b"["},
        {"manifest.json": b"[]"},
        {"manifest.json": b'[{"Config": "x"}]'},
        {"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'},
        {"manifest.json": b'[{"Config": "/etc/passwd", "Layers": []}]'},
        {"index.json": b'{"schemaVersion": 2, "manifests": []}'},
    ],
)
def test_an_archive_without_an_image_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(BadArchive), open_archive(write_tar(tmp_path / "a.tar", members)):
        pass
    directory = tmp_path / "dir"
    directory.mkdir()
    for name, content in members.items():
        (directory / name).write_bytes(content)
    with pytest.raises(BadArchive), open_archive(directory):
        pass


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(BadArchive, match=str(path)), open_archive(path):
            pass


def test_a_link_cannot_lead_out_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "manifest.json").write_text('[{"Config": "c.json", "Layers": []}]')
    (tmp_path / "dir" / "c.json").symlink_to("../secret.json")
    with pytest.raises(BadArchive, match="outside"), open_archive(tmp_path / "dir"):
        pass
