"""A client that is generated from the description starts, looks at and stops a deployment."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from master.web.app import create_app
from tests.support.master import FakeBox, add_application, add_image, image_digests, make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, serve

GENERATE_S = 240


@pytest.mark.long
def test_a_generated_client_runs_a_deployment(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_master(tmp_path / "master", redis_server.url)
    FakeBox(context, "alpha").hold(image_digests(add_image(context, "site:1")))
    add_application(context, "site", "site:1")
    app = create_app(context)
    (tmp_path / "openapi.json").write_text(app.test_client().get("/api/v1/openapi.json").text)
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n")
    told = subprocess.run(
        [
            *(Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none"),
            *("--path", "openapi.json", "--config", "settings.yaml", "--output-path", "portal_client"),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=GENERATE_S, check=True,
    )  # fmt: skip
    assert "WARNING" not in told.stdout.upper(), told.stdout
    monkeypatch.syspath_prepend(str(tmp_path))

    def call(name: str) -> Any:
        return importlib.import_module(f"portal_client.api.deployments.deployments_{name}").sync

    models = importlib.import_module("portal_client.models")
    with serve(app) as url:
        token = add_person(context, "ada")[2]
        client = importlib.import_module("portal_client").AuthenticatedClient(base_url=url, token=token)
        with client:
            wish = models.NewDeployment(application="site")
            made = call("start")(client=client, body=wish, idempotency_key="once")
            assert call("start")(client=client, body=wish, idempotency_key="once").id == made.id
            assert call("show")(made.id, client=client).application == "site"
            refused = call("start")(client=client, body=models.NewDeployment(application="none"))
            assert (type(refused).__name__, refused.field) == ("NotFoundAnswer", "application")
            assert call("stop")(made.id, client=client).wanted == "stopped"
    for name in [name for name in sys.modules if name.split(".")[0] == "portal_client"]:
        del sys.modules[name]
