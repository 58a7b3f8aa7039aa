"""The master of a lab, as a person's program sees it: REST, and what lies in its Redis."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from common.redis_client import connect
from workers.lab.commands import OPENRAAS, tail
from workers.lab.fleet import Lab
from workers.lab.master import OWN_NAME, Master

LIMIT_S = 90.0
PAUSE_S = 0.1
VERB_S = 120.0


class Portal:
    """REST calls as the first administrator, or as somebody else."""

    def __init__(self, lab: Lab, token: str | None = None) -> None:
        assert lab.state.master is not None
        self.lab = lab
        self.state_dir = lab.state.master.state_dir
        self.authority = self.state_dir / "ca.crt"
        self.address = lab.state.master.address
        self.tls = ssl.create_default_context(cafile=str(self.authority))
        secret = token or (self.state_dir / "secrets/cli.token").read_text().strip()
        self.http = httpx.Client(
            base_url=f"https://{self.address}",
            verify=self.tls,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=20,
            trust_env=False,
        )

    def call(self, method: str, path: str, body: object = None, *, expect: int | None = None) -> Any:
        """The JSON of an answer below /api/v1; fails the test if the status is not as expected."""
        answer = self.http.request(method, f"/api/v1{path}", json=body)
        if expect is not None:
            assert answer.status_code == expect, answer.text
        else:
            assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def verb(self, *arguments: str) -> str:
        """What the command line says on the master's machine; fails the test if it fails."""
        done = subprocess.run(
            [*OPENRAAS, *arguments],
            env=Master(self.lab.state).environment,
            capture_output=True, text=True, timeout=VERB_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
        return done.stdout

    def someone(self, name: str) -> Portal:
        """A new person."""
        return Portal(self.lab, self.token_of(name))

    def token_of(self, name: str) -> str:
        """An API token of a new person."""
        added = self.call("POST", "/users", {"name": name})
        answer = self.http.post(
            "/api/v1/tokens",
            json={"user": name, "password": added["password"], "name": "test"},
            headers={"Authorization": ""},
        )
        assert answer.is_success, answer.text
        return str(answer.json()["token"])

    def start(self, application: str, **options: object) -> str:
        """Ask for an application; returns the deployment's id."""
        return str(self.call("POST", "/deployments", {"application": application, "options": options})["id"])

    def wait(self, deployment: str, *states: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """The first instance once it is in one of the states; fails the test if it ends otherwise."""
        end = time.monotonic() + limit_s
        while True:
            view = self.call("GET", f"/deployments/{deployment}")
            instance: dict[str, Any] = view["instances"][0]
            if instance["state"] in states:
                return instance
            over = instance["state"] in ("failed", "stopped", "lost")
            if over or time.monotonic() > end:
                rows = "\n".join(
                    f"{row['step']} {row['box']} {row['detail']}" for row in instance["timeline"]
                )
                logs = [self.state_dir / "logs" / f"{name}.log" for name in ("scheduler", "lifecycle")]
                said = "\n".join(f"{log.name}: {tail(log, 12)}" for log in logs if log.exists())
                pytest.fail(f"{deployment} is {instance['state']}: {instance['error']}\n{rows}\n{said}")
            time.sleep(PAUSE_S)

    def stop(self, deployment: str) -> None:
        """Stop and wait until nothing of it is left, as far as the master knows."""
        self.call("POST", f"/deployments/{deployment}/stop")
        self.wait(deployment, "stopped")

    def open(self, deployment: str) -> Browser:
        """Follow a launch link, as a browser does."""
        url = self.call("POST", f"/deployments/{deployment}/ticket")["url"]
        return Browser(self, url)

    def redis(self) -> redis.Redis:
        """The lab's Redis, as the master sees it."""
        parts = urlsplit((self.state_dir / "secrets/redis.url").read_text().strip())
        host = self.address.rpartition(":")[0]
        url = parts._replace(netloc=parts.netloc.replace(parts.hostname or "", host)).geturl()
        return connect(url, ca_file=str(self.authority))


class Browser:
    """A browser at one instance: it resolves the instance's name to the box's address, and keeps the cookie."""

    def __init__(self, portal: Portal, url: str) -> None:
        self._portal = portal
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.netloc = parts.netloc
        self.port = parts.port or 443
        self.cookies: dict[str, str] = {}
        box = self.host.split(".")[1]
        self.address = portal.lab.state.address(portal.lab.state.find(box))
        self._http = httpx.Client(verify=portal.tls, timeout=20, trust_env=False)
        self.entered = self.get(f"{parts.path}?{parts.query}")
        for name, value in self.entered.cookies.items():
            self.cookies[name] = value

    def get(self, path: str, *, with_cookie: bool = True) -> httpx.Response:
        """A GET on the instance's own origin."""
        headers = {"Host": self.netloc}
        if with_cookie and self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = f"https://{self.address}:{self.port}{path}"
        answer = self._http.get(url, headers=headers, extensions={"sni_hostname": self.host})
        self._http.cookies.clear()  # the jar goes by addresses, and would send what a test leaves out
        return answer


def on_node(lab: Lab, name: str, *argv: str) -> str:
    """What a command says on a node."""
    node = lab.state.find(name)
    done = subprocess.run(lab.inside(node, argv), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mounts_on(lab: Lab, name: str) -> list[str]:
    """Mount points that a node has, by what the kernel says."""
    lines = on_node(lab, name, "cat", "/proc/self/mountinfo").splitlines()
    return [line.split()[4] for line in lines]


def processes_on(lab: Lab, name: str) -> list[str]:
    """Command lines of all processes of a node."""
    code = (
        "import pathlib\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    try: print(path.read_bytes().replace(b'\\0', b' ').replace(b'\\n', b' ').decode(errors='replace'))\n"
        "    except OSError: pass\n"
    )
    return on_node(lab, name, sys.executable, "-c", code).splitlines()


def box_dir(lab: Lab, name: str) -> Path:
    """The state directory of a box."""
    return lab.box_dir(lab.state.find(name))


__all__ = ["OWN_NAME", "Browser", "Portal", "box_dir", "mounts_on", "on_node", "processes_on"]
