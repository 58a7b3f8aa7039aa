"""A client of one depository, as bare as HTTP."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from common.oci.digest import digest_of
from tests.support.depository import MANIFEST_TYPE, FakeBox, Image


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


class Client:
    """A client of one box, with a token."""

    def __init__(self, box: FakeBox, token: str | None) -> None:
        self.token = token
        self._endpoint = box.endpoint

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        result = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return result

    def push_blob(self, data: bytes, repository: str = "site") -> str:
        digest = digest_of(data)
        answer = self("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        assert answer.status == 201
        return digest

    def push(self, image: Image, tag: str = "1") -> Answer:
        for data, _ in image.parts[1:]:
            self.push_blob(data, image.repository)
        path = f"/v2/{image.repository}/manifests/{tag}"
        return self("PUT", path, image.manifest, Content_Type=MANIFEST_TYPE)

    def put_manifest(self, value: dict[str, Any], reference: str = "", repository: str = "site") -> Answer:
        """Push a manifest given as JSON, by default under its digest."""
        data = json.dumps(value).encode()
        reference = reference or digest_of(data)
        path = f"/v2/{repository}/manifests/{reference}"
        return self("PUT", path, data, Content_Type=value["mediaType"])
