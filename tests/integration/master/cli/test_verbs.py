"""The command line against the real portal, and real depositories and filestores."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from common.names import layers_key, wish_key
from common.oci.archive import OCI_LAYERS
from common.oci.layers import Packing
from common.reports import Failed
from common.words import InstanceState
from master.accounts.models import UserRole
from master.accounts.services import create_user, issue_api_token
from master.cli import users
from master.cli.layers import LISTED
from master.deployments.models import Deployment, Instance
from master.images.models import ImageHolding
from master.lifecycle.reports import Reports
from master.mirrors.models import Mirror
from tests.support.cli import VERB_S, World, layout, platforms_layout
from tests.support.depository import Image
from tests.support.master import add_application
from tests.support.redis import wait_until


def test_signing_in_keeps_a_token_that_only_its_owner_reads(world: World) -> None:
    ada = world.shell()
    assert "openraas login" in ada.fails(1, "ps")
    done = ada.run("login", world.url, "--name", "olga", "--password-stdin", text=f"{world.password}\n")
    assert done.returncode == 0, done.stderr
    kept = ada.home / ".config" / "openraas" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert world.password not in kept.read_text()
    assert "Nothing runs" in ada.ok("ps")
    wrong = ada.run("login", world.url, "--name", "olga", "--password-stdin", text="wrong\n")
    assert wrong.returncode == 1
    assert "do not belong together" in wrong.stderr
    assert "Nothing runs" in ada.ok("ps"), "the good token stays"


def test_the_operator_on_the_masters_machine_needs_no_login(world: World) -> None:
    shell = world.shell()
    paths = world.context.paths
    paths.cli_token.write_text(world.operator.token + "\n")
    shell.variables = {
        "OPENRAAS_STATE_DIR": str(paths.root),
        "OPENRAAS_WEB_PORT": str(urlsplit(world.url).port),
    }
    assert "Nothing runs" in shell.ok("ps")


def test_bad_input_exits_with_2_and_everything_else_with_1(world: World) -> None:
    shell = world.operator
    assert "There is no application nothing" in shell.fails(2, "run", "nothing")
    shell.fails(2, "app", "add", "/nowhere")
    shell.fails(2, "image", "push", "/nowhere", "site:1")
    shell.fails(2, "run")
    shell.fails(2, "run", "site", "--option", "no-value")
    shell.fails(2, "show", "d-unknown")
    shell.fails(2, "box", "token", "--ttl", "soon")
    assert "not the name of an image" in shell.fails(2, "image", "remove", "Site!")
    shell.token = "ora_wrong"
    assert "openraas login" in shell.fails(1, "ps")
    shell.server = "http://127.0.0.1:1"
    assert "does not answer" in shell.fails(1, "ps")
    shell.server = "http://192.0.2.1:8080"
    assert "only reached with TLS" in shell.fails(2, "ps")


def test_of_thousands_of_layers_a_hundred_are_listed_and_all_if_somebody_asks(world: World) -> None:
    shell, count = world.operator, 2500
    many = [f"sha256:{number:064x}" for number in range(count)]
    world.context.redis.sadd(layers_key("attic"), *many)
    listed = shell.run("layer", "list")
    assert len(listed.stdout.splitlines()) == 1 + LISTED
    assert f"{LISTED} of {count}. All of them: --all" in listed.stderr
    assert len(shell.ok("layer", "list", "--all").splitlines()) == 1 + count
    assert sorted(item["digest"] for item in shell.json("layer", "list")) == many
    assert len(shell.json("layer", "list", "--limit", "7")) == 7
    assert "No box that is up" in shell.ok("layer", "list", "--box", "cellar")
    shell.fails(2, "layer", "list", "--limit", "0")


def test_layers_are_listed_pinned_and_evicted(world: World) -> None:
    image = Image(300_000)
    path = layout(world.directory / "layout", image)
    world.operator.ok("image", "push", str(path), "demo/site:1")
    for box in world.boxes:
        box.report()
    rows = world.operator.json("layer", "list", "--image", "demo/site:1")
    assert isinstance(rows, list)
    assert {row["digest"] for row in rows} == set(image.by_digest)
    assert [holder["box"] for holder in rows[0]["holders"]] == ["attic", "cellar"]
    assert "attic, cellar" in world.operator.ok("layer", "pin", "demo/site:1")
    assert "attic (pinned, kept), cellar (pinned, kept)" in world.operator.ok("layer", "list")
    assert "pinned on attic" in world.operator.fails(1, "layer", "evict", "demo/site:1", "--box", "attic")
    world.operator.ok("layer", "unpin", "demo/site:1", "--box", "attic")
    refused = world.operator.fails(1, "layer", "evict", "demo/site:1", "--box", "attic")
    assert "Only 1 other boxes" in refused
    assert "--force" in refused
    world.operator.ok("layer", "evict", "demo/site:1", "--box", "attic", "--force")
    world.operator.fails(2, "layer", "pin", "demo/nothing:1")
    with world.context.database.write() as session:
        user, _ = create_user(session, "mina", UserRole.USER)
        token = issue_api_token(session, user, "test", None)
    person = world.shell(token)
    assert "role operator" in person.fails(1, "layer", "pin", "demo/site:1")
    assert "demo/site:1" in person.ok("layer", "list")


def test_how_far_predictions_were_off_is_an_operators_business(world: World) -> None:
    assert "Nothing was started yet" in world.operator.ok("history", "accuracy")
    assert world.operator.json("history", "accuracy") == []
    with world.context.database.write() as session:
        user, _ = create_user(session, "mina", UserRole.USER)
        token = issue_api_token(session, user, "test", None)
    assert "role operator" in world.shell(token).fails(1, "history", "accuracy")


def test_an_empty_queue_is_told(world: World) -> None:
    assert "Nobody waits" in world.operator.ok("queue")
    assert world.operator.json("queue") == []


def test_an_image_is_pushed_to_two_depositories_and_removed_again(world: World) -> None:
    image = Image(300_000, 200_000)
    path = layout(world.directory / "layout", image)
    answer = world.operator.json("image", "push", str(path), "demo/site:1")
    assert isinstance(answer, dict)
    assert (answer["digest"], answer["boxes"]) == (image.digest, ["attic", "cellar"])
    for box in world.boxes:
        assert box.holdings.store.read(image.digest, 10_000) == image.manifest
        box.report()
    with world.context.database.read() as session:
        holdings = {(item.box_id, item.wanted) for item in session.query(ImageHolding)}
    assert holdings == {("attic", "held"), ("cellar", "held")}
    again = world.operator.ok("image", "push", str(path), "demo/site:2", "--to", "cellar")
    assert "cellar" in again
    listed = world.operator.ok("image", "list")
    assert "demo/site:1" in listed
    assert "demo/site:2" in listed
    for tag in ("1", "2"):
        world.operator.ok("image", "remove", f"demo/site:{tag}")
    assert world.operator.json("image", "list") == []


def test_who_may_not_push_is_told_so(world: World) -> None:
    path = layout(world.directory / "layout", Image(1000))
    password = json.loads(world.operator.ok("user", "add", "ada", "--json"))["password"]
    ada = world.shell()
    done = ada.run("login", world.url, "--name", "ada", "--password-stdin", text=f"{password}\n")
    assert done.returncode == 0, done.stderr
    assert "does not allow to push" in ada.fails(1, "image", "push", str(path), "site:1")
    ada.ok("image", "push", str(path), "ada/site:1")
    assert "ada/" in ada.fails(1, "image", "remove", "site:1")
    assert "attik" in ada.fails(1, "image", "push", str(path), "ada/site:1", "--to", "attik")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_pushes_and_pulls_with_the_masters_tokens(world: World) -> None:
    image = Image(300_000)
    path = layout(world.directory / "layout", image)
    target = f"docker://127.0.0.1:{world.boxes[0].front.port}/olga/site:1"
    credentials = f"olga:{world.operator.token}"
    policy = world.directory / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    common = ["skopeo", "--policy", str(policy), "copy"]
    pushed = subprocess.run(
        [*common, "--dest-tls-verify=false", "--dest-creds", credentials, f"oci:{path}", target],
        capture_output=True, text=True, timeout=VERB_S,
    )  # fmt: skip
    assert pushed.returncode == 0, pushed.stderr
    assert "olga/site:1" in world.operator.ok("image", "list")
    back = world.directory / "back"
    pulled = subprocess.run(
        [*common, "--src-tls-verify=false", "--src-creds", credentials, target, f"oci:{back}:1"],
        capture_output=True, text=True, timeout=VERB_S,
    )  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    refused = subprocess.run(
        [*common, "--dest-tls-verify=false", "--dest-creds", "olga:wrong", f"oci:{path}", target],
        capture_output=True, text=True, timeout=VERB_S,
    )  # fmt: skip
    assert refused.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a filestore gives files to a uid of the fileset")
def test_a_fileset_goes_to_a_filestore_and_comes_back(world: World) -> None:
    source = world.directory / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (source / "sub" / "run.sh").chmod(0o755)
    (source / "link").symlink_to("sub/run.sh")
    (source / "large").write_bytes(os.urandom(700_000))
    with world.boxes[1].reporting():
        put = world.operator.json("fileset", "put", "maps", str(source), "--public", "--to", "cellar")
    assert put == {"name": "maps", "version": 1, "size_bytes": 700_010, "boxes": ["cellar"]}
    assert "cellar" in world.operator.ok("fileset", "list")
    target = world.directory / "target"
    world.operator.ok("fileset", "get", "maps", str(target))
    assert (target / "large").read_bytes() == (source / "large").read_bytes()
    assert (target / "sub" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert str((target / "link").readlink()) == "sub/run.sh"
    assert "not empty" in world.operator.fails(2, "fileset", "get", "maps", str(target))
    (source / "large").unlink()
    with world.boxes[1].reporting():
        assert "version 2" in world.operator.ok("fileset", "put", "maps", str(source), "--public")
    world.operator.ok("fileset", "remove", "maps")
    assert "There is no fileset maps" in world.operator.fails(2, "fileset", "get", "maps", str(target) + "2")


def test_people_are_added_disabled_and_reset(world: World) -> None:
    shell = world.operator
    assert "shown this once" in shell.ok("user", "add", "ada", "--role", "operator")
    shell.ok("user", "disable", "ada")
    listed = {item["name"]: item for item in json.loads(shell.ok("user", "list", "--json"))}
    assert (listed["ada"]["role"], listed["ada"]["active"]) == ("operator", False)
    shell.ok("user", "enable", "ada")
    assert "shown this once" in shell.ok("user", "reset", "ada")
    assert "already" in shell.fails(1, "user", "add", "ada")
    assert "last administrator" in shell.fails(1, "user", "disable", "olga")
    assert tuple(role.value for role in UserRole) == users.ROLES


def test_boxes_are_listed_shown_cordoned_and_removed(world: World) -> None:
    shell = world.operator
    assert "cellar" in shell.ok("box", "list")
    assert "height 0.0 ms (typed in)" in shell.ok("box", "show", "cellar")
    shell.ok("box", "cordon", "cellar")
    assert "up, cordoned" in shell.ok("box", "list")
    shell.ok("box", "uncordon", "cellar")
    assert "cordoned" not in shell.ok("box", "list")
    token = shell.json("box", "token", "--ttl", "15min")
    assert isinstance(token, dict)
    assert (token["expires_in_s"], token["master"]) == (900.0, world.url)
    assert token["token"].startswith(token["fingerprint"])
    warned = shell.run("box", "token").stderr
    assert "No other machine can reach" in warned
    assert "openraas up --listen ADDRESS" in warned
    shell.ok("box", "remove", "cellar")
    assert "There is no box cellar" in shell.fails(2, "box", "show", "cellar")


def test_the_catalogue_is_filled_and_emptied(world: World) -> None:
    shell = world.operator
    manifest = world.directory / "manifest.yaml"
    manifest.write_text(
        "openraas: 1\nname: site\ntitle: A site\nservices:\n  main: {image: 'demo/site:1', port: 80}\n"
        "options:\n- {name: colour, default: red}\n"
    )
    added = shell.run("app", "add", str(manifest))
    assert (added.returncode, "openraas run site" in added.stdout) == (0, True)
    assert "not there yet: There is no image demo/site:1." in added.stderr
    assert "A site" in shell.ok("app", "list")
    assert "--option colour" in shell.ok("app", "show", "site")
    shell.ok("app", "remove", "site")
    assert "empty" in shell.ok("app", "list")
    manifest.write_text("openraas: 1\nname: site\nunknown: key\n")
    assert "unknown" in shell.fails(2, "app", "add", str(manifest))
    assert "$defs" in json.loads(shell.ok("manifest", "schema"))


def test_a_deployment_is_run_followed_listed_and_stopped(world: World) -> None:
    shell = world.operator
    path = layout(world.directory / "layout", Image(1000))
    shell.ok("image", "push", str(path), "demo/site:1")
    for box in world.boxes:
        box.report()
    add_application(world.context, "site", "demo/site:1")
    begun = shell.json("run", "site", "--no-wait")
    assert isinstance(begun, dict)
    deployment = str(begun["id"])
    with world.context.database.read() as session:
        near = session.get_one(Deployment, deployment).near
    assert near is not None
    assert set(near["round_trips_ms"]) == {"attic", "cellar"}
    assert deployment in shell.ok("ps")
    assert "site" in shell.ok("show", deployment)
    assert "still" in shell.fails(1, "run", "site", "--timeout", "0.1")
    follower = subprocess.Popen(
        [sys.executable, "-m", "common", "logs", "-f", deployment],
        env=shell.environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        stopped = shell.json("stop", deployment, "--no-wait")
        assert isinstance(stopped, dict)
        with world.context.database.write() as session:
            for instance in session.query(Instance).filter_by(deployment_id=deployment):
                instance.state = InstanceState.STOPPED.value
        wait_until(lambda: follower.poll() is not None, VERB_S, "the end of logs -f")
        assert follower.returncode == 0
    finally:
        if follower.poll() is None:
            follower.kill()
        follower.communicate(timeout=10)
    assert "is stopped" in shell.ok("stop", deployment)
    assert deployment not in shell.ok("ps")
    assert deployment in shell.ok("ps", "--all")
    assert world.context.redis.exists(wish_key("attic")) == 0


def test_completion_knows_the_verbs(world: World) -> None:
    assert "_OPENRAAS_COMPLETE" in world.operator.ok("completion", "bash")


def test_what_docker_save_writes_is_pushed_too(world: World) -> None:
    """Engines before 25 write manifest.json, a config and a tar per layer."""
    image = Image(50_000)
    config = json.loads(image.config)
    file = world.directory / "saved.tar"
    with tarfile.open(file, "w") as tar:
        for name, data in (
            ("manifest.json", json.dumps([{"Config": "c.json", "Layers": ["l/layer.tar"]}]).encode()),
            ("c.json", json.dumps(config).encode()),
            ("l/layer.tar", gzip.decompress(image.layers[0])),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    answer = world.operator.json("image", "push", str(file), "saved")
    assert isinstance(answer, dict)
    assert (answer["tag"], answer["architectures"]) == ("latest", ["amd64"])


def test_a_layout_of_several_platforms_is_pushed_whole_packed_anew_and_shared_between_names(
    world: World,
) -> None:
    path = platforms_layout(world.directory / "platforms", "amd64", "arm64")
    answer = world.operator.json("image", "push", str(path), "many:1")
    assert isinstance(answer, dict)
    assert answer["architectures"] == ["amd64", "arm64"]
    images = world.operator.json("image", "list")
    assert isinstance(images, list)
    (listed,) = [item for item in images if item["repository"] == "many"]
    assert (listed["architectures"], listed["digest"]) == (["amd64", "arm64"], answer["digest"])
    one = world.operator.json("image", "push", str(path), "one:1", "--architecture", "arm64")
    assert isinstance(one, dict)
    assert one["architectures"] == ["arm64"]
    zstd = world.operator.json("image", "push", str(path), "small:1", "--recompress", "zstd")
    assert isinstance(zstd, dict)
    assert zstd["digest"] != answer["digest"]
    holdings = world.boxes[0].holdings
    index = json.loads(holdings.store.read(zstd["digest"], 10_000))
    manifest = json.loads(holdings.store.read(index["manifests"][0]["digest"], 10_000))
    assert {layer["mediaType"] for layer in manifest["layers"]} == {OCI_LAYERS[Packing.ZSTD]}
    config = manifest["config"]["digest"]
    assert all(holdings.find(config, name) for name in ("many", "small")), "taken over, not sent again"


def test_a_mirror_is_asked_for_and_tells_what_the_depository_said(world: World) -> None:
    shell = world.operator
    asked = shell.json("image", "mirror", "nginx:1.27", "--as", "web:1", "--to", "cellar", "--no-wait")
    assert isinstance(asked, dict)
    assert (asked["source"], asked["box"], asked["state"]) == (
        "docker.io/library/nginx:1.27", "cellar", "fetching",
    )  # fmt: skip
    assert "not the name of an image" in shell.fails(2, "image", "mirror", "Not A Name")
    assert "is not a depository" in shell.fails(1, "image", "mirror", "nginx", "--to", "nowhere")

    def refuse() -> None:
        def waiting() -> str | None:
            with world.context.database.read() as session:
                query = select(Mirror.id).where(Mirror.state == "fetching", Mirror.box_id == "attic")
                return session.scalar(query)

        wait_until(lambda: waiting() is not None, what="the mirror")
        report = Failed(
            subject=f"mirror.{waiting()}", generation=0, reason="no-source", message="It cannot be reached."
        )
        Reports(world.context).take("attic", report.model_dump_json())

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        assert "cannot be reached" in shell.fails(1, "image", "mirror", "nginx:1.27", "--to", "attic")
    finally:
        thread.join(30)
    assert "cannot be reached" in shell.ok("image", "mirrors")
    shell.ok("image", "forget", asked["id"])
    shell.ok("image", "forget", asked["id"])
    assert asked["id"] not in [item["id"] for item in shell.json("image", "mirrors")]
    assert "no mirror" in shell.fails(2, "image", "forget", asked["id"])
    (shell.home / "ca.der").write_bytes(b"\x30\x82\xff")
    assert "no certificates" in shell.fails(2, "image", "mirror", "nginx", "--ca", str(shell.home / "ca.der"))


def test_a_simulation_is_asked_for_listed_stopped_and_removed(world: World, tmp_path: Path) -> None:
    shell = world.operator
    scenario = tmp_path / "mine.yaml"
    scenario.write_text("base: nearest-with-room\nname: mine\ntrace: {file: day.csv}\n")
    assert "day.csv" in shell.fails(2, "simulation", "run", str(scenario))
    (tmp_path / "day.csv").write_text("arrival_s,duration_s,cpu,memory_bytes,task\n0,9,1,0,plain\n")
    asked = shell.json("simulation", "run", str(scenario), "--policy", "first", "--seeds", "1", "--no-wait")
    assert (asked["name"], asked["state"], asked["policies"]) == ("mine", "waiting", ["first"])
    assert "There is no policy best" in shell.fails(2, "simulation", "run", str(scenario), "--policy", "best")
    assert asked["id"] in shell.ok("simulation", "list")
    assert "waiting" in shell.ok("simulation", "show", asked["id"])
    assert "no file" in shell.fails(2, "simulation", "get", asked["id"], "report.html")
    shell.ok("simulation", "stop", asked["id"])
    assert "is over (stopped)" in shell.fails(1, "simulation", "stop", asked["id"])
    shell.ok("simulation", "remove", asked["id"])
    assert "no simulation" in shell.fails(2, "simulation", "show", asked["id"])
