"""`openraas up --demo` publishes the samples that take long after its first page is open, on real parts."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.platform import SAMPLES, RunningPlatform, quick_samples, running_platform
from tests.support.redis import wait_until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="the box beside the master needs root"),
]

LIMIT_S = 120.0


def samples(directory: Path, **steps: str) -> Path:
    """The quick samples, and for each name one more whose image is built with this further step."""
    folder = quick_samples(directory / "samples")
    for name, step in steps.items():
        shutil.copytree(SAMPLES / "shell", folder / name)
        manifest = (folder / name / "manifest.yaml").read_text()
        manifest = manifest.replace("name: shell", f"name: {name}").replace("shell:1", f"{name}:1")
        (folder / name / "manifest.yaml").write_text(manifest)
        with (folder / name / "Dockerfile").open("a") as file:
            file.write(f"RUN {step}\n")
    return folder


def told(platform: RunningPlatform) -> str:
    return (platform.state_dir.parent / "up.log").read_text()


def published(platform: RunningPlatform) -> set[str]:
    return {item["name"] for item in platform.call("GET", "/applications")["applications"]}


def test_what_takes_long_is_published_while_people_use_the_platform_and_ends_with_it(tmp_path: Path) -> None:
    folder = samples(tmp_path, broken="echo no such thing && exit 3", later="true", slow="sleep 600")
    with running_platform(tmp_path, "--demo", samples_dir=str(folder)) as platform:
        wait_until(lambda: "✓ later is published" in told(platform), LIMIT_S, "the sample that can be built")
        assert published(platform) == {"site", "shell", "later"}
        lines = told(platform)
        opened, begun = lines.index("The gateway answers"), lines.index("Publishing broken")
        assert opened < lines.index("Ctrl-C") < begun < lines.index("Publishing later")
        assert "✗ broken is not published." in lines
        assert "no such thing" in lines
        assert "openraas samples publish broken" in lines

        wait_until(sleeping, LIMIT_S, "the last step of the sample that takes for ever")
        platform.process.send_signal(signal.SIGINT)
        assert platform.process.wait(LIMIT_S) == 0
        assert not processes_of(platform.state_dir)
        wait_until(lambda: not sleeping(), LIMIT_S, "the end of the build in the engine")
    assert "Traceback" not in told(platform)


def sleeping() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-2:] == ["sleep", "600"]]


def processes_of(state_dir: Path) -> list[psutil.Process]:
    """Every process that works for the platform, by the state directory in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OPENRAAS_STATE_DIR") == str(state_dir):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.pid != os.getpid()]
