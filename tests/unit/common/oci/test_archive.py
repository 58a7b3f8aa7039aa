"""Images are read from docker save and from OCI layouts, and always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard

from common.errors import Conflict
from common.oci.archive import OCI_LAYER, OCI_LAYERS, open_archive
from common.oci.digest import digest_of
from common.oci.layers import LayerCache, Packing, pack
from common.oci.manifests import OCI_INDEX, OCI_MANIFEST, parse
from common.oci.members import BadArchive

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


def layout(layer: bytes, layer_type: str, *, config: bytes = CONFIG) -> dict[str, bytes]:
    def put(content: bytes, media_type: str) -> dict[str, Any]:
        files[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [put(layer, layer_type)],
        "annotations": {"kept": "yes"},
    }
    entry = put(json.dumps(manifest).encode(), manifest["mediaType"])
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return files


def read(path: Path) -> tuple[str, str, list[bytes]]:
    """Digest, architecture and blobs of an archive, all checked against their descriptors."""
    with open_archive(path) as archive:
        (image,) = archive.images
        assert (archive.index, archive.digest) == (None, image.digest)
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
    with open_archive(path) as archive:
        value = json.loads(archive.images[0].manifest)
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


def several(*architectures: str, nested: bool = True, layer: bytes = LAYER) -> dict[str, bytes]:
    """A layout of images for several platforms, in an index of their own or in index.json itself."""
    files: dict[str, bytes] = {}
    entries = []
    for name in architectures:
        config = json.dumps({"architecture": name, "rootfs": {"diff_ids": [digest_of(layer)]}}).encode()
        one = layout(gzip.compress(layer, 9, mtime=0), f"{OCI_LAYER}+gzip", config=config)
        entry = json.loads(one.pop("index.json"))["manifests"][0]
        entries.append({**entry, "platform": {"os": "linux", "architecture": name}})
        files |= one
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    if nested:
        files[f"blobs/sha256/{hashlib.sha256(index).hexdigest()}"] = index
        entry = {"mediaType": OCI_INDEX, "digest": digest_of(index), "size": len(index)}
        index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files["index.json"] = index
    return files


@pytest.mark.parametrize("nested", [True, False])
def test_a_layout_of_several_platforms_is_an_index_with_all_of_them(tmp_path: Path, nested: bool) -> None:
    files = several("amd64", "arm64", "unknown", nested=nested)
    with open_archive(write_tar(tmp_path / "a.tar", files)) as archive:
        assert archive.architectures == ["amd64", "arm64"]
        assert len(archive.images) == 3
        assert archive.index is not None
        assert archive.index in files.values(), "untouched, so that it keeps its digest"


def test_of_several_platforms_one_gives_an_image_and_some_an_index_that_names_all(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", several("amd64", "arm64", "riscv64"))
    with open_archive(path, architectures=["arm64"]) as archive:
        assert (archive.index, archive.architectures) == (None, ["arm64"])
    with open_archive(path, architectures=["arm64", "amd64"]) as archive, open_archive(path) as whole:
        assert (archive.index, archive.architectures) == (whole.index, ["amd64", "arm64"])
    with pytest.raises(BadArchive, match="amd64, arm64, riscv64"), open_archive(path, architectures=["386"]):
        pass


@pytest.mark.parametrize("packing", list(Packing))
def test_layers_are_packed_anew_and_unpack_to_the_same(tmp_path: Path, packing: Packing) -> None:
    path = write_tar(tmp_path / "a.tar", several("amd64", "arm64", "unknown"))
    with open_archive(path, packing=packing) as archive:
        assert archive.index is not None
        listed = parse(archive.index).manifests
        assert {image.digest for image in archive.images} <= {item.digest for item in listed}
        assert archive.architectures == ["amd64", "arm64"]
        for image in archive.images:
            (told,) = parse(image.manifest).layers
            assert told.media_type == OCI_LAYERS[packing]
            with image.blobs[1].open() as file:
                data = file.read()
            assert digest_of(data) == told.digest == image.blobs[1].descriptor.digest
            assert unpack(data, packing) == LAYER


@pytest.mark.parametrize("packing", [Packing.ZSTD, Packing.NONE])
def test_docker_save_becomes_an_image_of_oci_where_docker_has_no_type_for_its_layers(
    tmp_path: Path, packing: Packing
) -> None:
    with open_archive(write_tar(tmp_path / "a.tar", docker_save()), packing=packing) as archive:
        (image,) = archive.images
        parsed = parse(image.manifest, image.media_type)
        assert parsed.media_type == OCI_MANIFEST
        assert {item.media_type for item in parsed.layers} == {OCI_LAYERS[packing]}
        assert parsed.config is not None
        assert parsed.config.media_type == "application/vnd.oci.image.config.v1+json"


def unpack(data: bytes, packing: Packing) -> bytes:
    if packing is Packing.GZIP:
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if packing is Packing.ZSTD else data


def saved(path: Path, *layers: bytes) -> Path:
    """What docker save writes of an image whose config names its layers."""
    config = {"architecture": "amd64", "rootfs": {"diff_ids": [digest_of(layer) for layer in layers]}}
    entry = {"Config": "c.json", "Layers": [f"{number}/layer.tar" for number in range(len(layers))]}
    members = {"manifest.json": json.dumps([entry]).encode(), "c.json": json.dumps(config).encode()}
    members |= {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    return write_tar(path, members)


def test_a_layer_that_was_packed_before_is_not_packed_again_until_somebody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []

    def counting(source: BinaryIO, out: BinaryIO, packing: Packing) -> None:
        packed.append(1)
        pack(source, out, packing)

    monkeypatch.setattr("common.oci.layers.pack", counting)
    cache = LayerCache(tmp_path / "cache" / "layers.json")
    with open_archive(saved(tmp_path / "a.tar", LAYER, b"first"), cache=cache) as archive:
        first = archive.digest
    assert len(packed) == 2
    cache.save()
    again = LayerCache(tmp_path / "cache" / "layers.json")
    with open_archive(saved(tmp_path / "b.tar", LAYER, b"second"), cache=again) as archive:
        assert len(packed) == 3, "only the layer that is new"
        assert archive.digest != first
        with archive.images[0].blobs[1].open() as file:
            assert gzip.decompress(file.read()) == LAYER
        assert len(packed) == 4
    with open_archive(tmp_path / "a.tar", cache=again) as archive:
        assert archive.digest == first
    assert len(packed) == 4


def test_a_cache_that_does_not_hold_is_noticed_and_forgotten(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers.json")
    cache.keep(digest_of(LAYER), Packing.GZIP, digest_of(b"another"), 7)
    path = saved(tmp_path / "a.tar", LAYER)
    with open_archive(path, cache=cache) as archive, pytest.raises(Conflict, match="packed otherwise"):
        archive.images[0].blobs[1].open()
    assert cache.packed(digest_of(LAYER), Packing.GZIP) is None
    with open_archive(path, cache=cache) as archive, archive.images[0].blobs[1].open() as file:
        assert gzip.decompress(file.read()) == LAYER


@pytest.mark.parametrize("text", ["", "[]", '{"packed": 3}', "\0"])
def test_a_cache_that_cannot_be_read_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "layers.json").write_text(text)
    assert LayerCache(tmp_path / "layers.json").pushed_to(digest_of(b"x")) is None


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
