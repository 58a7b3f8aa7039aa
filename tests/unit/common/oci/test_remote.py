"""Names of images elsewhere are read as container engines read them."""

from __future__ import annotations

import pytest

from common.errors import BadInput
from common.oci.remote import parse_remote

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "url", "short"),
    [
        ("nginx", "docker.io/library/nginx:latest", "https://registry-1.docker.io", "nginx"),
        ("team/app:1", "docker.io/team/app:1", "https://registry-1.docker.io", "team/app"),
        ("docker.io/nginx:1", "docker.io/library/nginx:1", "https://registry-1.docker.io", "nginx"),
        ("ghcr.io/team/app", "ghcr.io/team/app:latest", "https://ghcr.io", "team/app"),
        ("localhost:5000/x:2", "localhost:5000/x:2", "http://localhost:5000", "x"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "http://127.0.0.1:5000", "a/b"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "http://[::1]:5000", "a"),
        (f"quay.io/x/y:1@{DIGEST}", f"quay.io/x/y@{DIGEST}", "https://quay.io", "x/y"),
        ("127.0.0.1.example.org/a", "127.0.0.1.example.org/a:latest", "https://127.0.0.1.example.org", "a"),
    ],
)
def test_a_name_is_completed(text: str, full: str, url: str, short: str) -> None:
    remote = parse_remote(text)
    assert (str(remote), remote.url(), remote.short_name) == (full, url, short)
    assert parse_remote(str(remote)) == remote


@pytest.mark.parametrize(
    "text",
    ["", "Nginx", "a b", "http://x/y", "x:", "x@sha256:1", "x/../y", "user@host/x", "a.b/", "h:99/x?y"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_remote(text)
