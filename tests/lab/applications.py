"""What the lab's tests run: an image on two depositories, a fileset, and two applications."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.portal import Portal
from tests.support.redis import wait_until
from workers.lab.plan import Node

REPOSITORY = "lab/web"
FILE = "hello.txt"
TEXT = "these bytes lie on a filestore\n"
PUSH_S = 120.0
HELD_S = 30.0
FRONT_PORT = 8090

SITE: dict[str, Any] = {
    "openraas": 1,
    "name": "lab-site",
    "title": "Lab site",
    "services": {
        "web": {
            "image": f"{REPOSITORY}:1",
            "resources": {"cpu": 0.25, "memory": "64MiB", "disk": "64MiB"},
            "filesets": [{"name": "lab-pages", "mount": "/srv"}],
            "port": 8080,
            "readiness": {"http": f"/{FILE}"},
        }
    },
}
# Writes a line into the person's home, and shows all of it.
DIARY: dict[str, Any] = {
    "openraas": 1,
    "name": "lab-diary",
    "title": "Lab diary",
    "services": {
        "web": {
            "image": f"{REPOSITORY}:1",
            "command": [
                "/bin/busybox", "sh", "-c",
                "echo \"$${HOSTNAME} was here\" >> /home/diary.txt; exec /bin/busybox httpd -f -p 8080 -h /home",
            ],
            "resources": {"cpu": 0.25, "memory": "64MiB", "disk": "64MiB"},
            "home": "/home",
            "port": 8080,
            "readiness": {"http": "/"},
        }
    },
}  # fmt: skip


def push(portal: Portal, layout: Path, box: Node, reference: str, scratch: Path) -> None:
    """Push an image to a depository with a client that knows nothing of this project."""
    assert shutil.which("skopeo"), "skopeo is not installed"
    certificates = scratch / "certificates"
    certificates.mkdir(exist_ok=True)
    shutil.copy(portal.authority, certificates / "ca.crt")
    password = (portal.state_dir / "secrets/admin.password").read_text().strip()
    credentials = scratch / "auth.json"
    registry = f"{portal.lab.state.address(box)}:{FRONT_PORT}"
    login = subprocess.run(
        ["skopeo", "login", "--authfile", str(credentials), "--cert-dir", str(certificates),
         "--username", "admin", "--password-stdin", registry],
        input=password, text=True, capture_output=True, timeout=PUSH_S,
    )  # fmt: skip
    assert login.returncode == 0, login.stderr
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--authfile", str(credentials), "--dest-cert-dir",
         str(certificates), f"oci:{layout}:latest", f"docker://{registry}/{reference}"],
        capture_output=True, text=True, timeout=PUSH_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def held() -> bool:
        tags = portal.call("GET", "/images")["images"]
        return any(
            box.name in tag["boxes"] for tag in tags if f"{tag['repository']}:{tag['tag']}" == reference
        )

    # Two boxes that have verified the blobs are what lets a box fetch from both at once.
    wait_until(held, HELD_S, f"{reference} held by {box.name}")


def publish(portal: Portal, manifest: dict[str, Any]) -> None:
    """Add an application to the catalogue."""
    portal.call("POST", "/applications", {"manifest": manifest})


def put_pages(portal: Portal, scratch: Path) -> None:
    """Put the fileset that the site serves."""
    pages = scratch / "pages"
    pages.mkdir(exist_ok=True)
    (pages / FILE).write_text(TEXT)
    (pages / FILE).chmod(0o644)
    portal.verb("fileset", "put", "lab-pages", str(pages), "--public")
