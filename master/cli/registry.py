"""Pushing an image to a depository, as the OCI distribution specification describes it ("Pushing manifests")."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from common.oci.archive import Archive
from common.oci.layers import ArchivedBlob, LayerCache
from common.words import Endpoint
from master.cli.client import CONNECT_S, Client, check, unreachable

# A depository answers the end of an upload once the blob lies on its disk.
COMMIT_S = 300.0
PIECE_BYTES = 2**20
# So many other repositories are asked to give layers; a ticket travels in a header.
MOST_OTHERS = 20


class Depository:
    """One box's registry; use as a context manager."""

    def __init__(self, client: Client, box: str, front: Endpoint, repository: str, cache: LayerCache) -> None:
        self.box = box
        self._cache = cache
        self._others: frozenset[str] = frozenset()
        self._client = client
        self._repository = repository
        self._token, self._token_until = "", 0.0
        self._http = httpx.Client(
            base_url=front.url,
            timeout=httpx.Timeout(COMMIT_S, connect=CONNECT_S),
            verify=client.target.tls() if front.tls else True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def push(self, archive: Archive, tag: str, advance: Callable[[int], None]) -> None:
        """Push what is missing, then the manifests, the last under `tag`; `advance` gets the bytes as they are done.

        Raises Refused with what the depository says, or Unavailable.
        """
        blobs = {blob.descriptor.digest: blob for image in archive.images for blob in image.blobs}
        known = {self._cache.pushed_to(digest) for digest in blobs}
        self._others = frozenset(name for name in known if name and name != self._repository)
        for blob in blobs.values():
            if self._has(blob.descriptor.digest) or self._mount(blob.descriptor.digest):
                advance(blob.descriptor.size_bytes)
            else:
                self._upload(blob, advance)
            self._cache.keep_pushed(blob.descriptor.digest, self._repository)
        for image in archive.images:
            reference = tag if archive.index is None else image.digest
            self._put_manifest(reference, image.manifest, image.media_type)
        if archive.index is not None:
            self._put_manifest(tag, archive.index, archive.index_type)
        self._cache.save()

    def _put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        self._request("PUT", f"manifests/{reference}", content=data, headers={"Content-Type": media_type})

    def _mount(self, digest: str) -> bool:
        """Let the depository take a blob over from the repository that got it last ("Mounting a blob")."""
        other = self._cache.pushed_to(digest)
        if other is None or other not in self._others:
            return False
        answer = self._request(
            "POST",
            "blobs/uploads/",
            params={"mount": digest, "from": other},
            headers={"Content-Length": "0"},
        )
        if answer.status_code == httpx.codes.CREATED:
            return True
        self._send("DELETE", urljoin(str(answer.url), answer.headers["Location"]))
        return False

    def _has(self, digest: str) -> bool:
        answer = self._send("HEAD", f"/v2/{self._repository}/blobs/{digest}")
        return answer.status_code == httpx.codes.OK

    def _upload(self, blob: ArchivedBlob, advance: Callable[[int], None]) -> None:
        begun = self._request("POST", "blobs/uploads/", headers={"Content-Length": "0"})
        location = httpx.URL(urljoin(str(begun.url), begun.headers["Location"]))
        check(
            self._send(
                "PUT",
                # The address is the depository's own, whatever host it names.
                location.copy_merge_params({"digest": blob.descriptor.digest}).raw_path.decode(),
                content=_pieces(blob, advance),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(blob.descriptor.size_bytes),
                },
            )
        )

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return check(self._send(method, f"/v2/{self._repository}/{path}", **options))

    def _send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._ticket()}", **(headers or {})}
        try:
            return self._http.request(method, path, headers=headers, **options)
        except httpx.HTTPError as error:
            raise unreachable(f"The depository {self.box} at {self._http.base_url}", error) from error

    def _ticket(self) -> str:
        """A ticket that holds for a while yet: a long push outlives several."""
        if time.monotonic() > self._token_until:
            scope = [f"repository:{self._repository}:pull,push"]
            scope += [f"repository:{name}:pull" for name in sorted(self._others)][:MOST_OTHERS]
            answer = self._client.request(
                "GET", "/v2/token", params={"service": self.box, "scope": scope}
            ).json()
            self._token = str(answer["token"])
            self._token_until = time.monotonic() + float(answer["expires_in"]) / 2
        return self._token


def _pieces(blob: ArchivedBlob, advance: Callable[[int], None]) -> Iterator[bytes]:
    with blob.open() as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
            advance(len(piece))
