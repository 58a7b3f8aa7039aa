"""What a lab may have left on this machine, and how it goes: for `lab down`, and to prove it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from workers.lab.commands import run
from workers.lab.errors import LabError
from workers.lab.network import NAMESPACES, remove_link, remove_namespace
from workers.lab.plan import BASE, RUN, STATE_FILE, LabState, namespace_prefix
from workers.lab.processes import kill_namespace, wait_for

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_S = 10.0


def namespaces(lab: str) -> list[str]:
    """Network namespaces of a lab, whether or not its state names them."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(namespace_prefix(lab)))


def labs() -> list[str]:
    """Ids of all labs of which anything is left here: a state, a namespace, an interface or a socket."""
    found = set()
    for directory in (RUN, BASE):
        if directory.is_dir():
            found |= {path.name.removesuffix(".run") for path in directory.iterdir()}
    if NAMESPACES.is_dir():
        found |= {path.name.split("-")[1] for path in NAMESPACES.iterdir() if path.name.startswith("orlab-")}
    links = Path("/sys/class/net").iterdir()
    found |= {path.name.removeprefix("orlab") for path in links if path.name.startswith("orlab")}
    return sorted(found)


def mounts(below: Path) -> list[str]:
    """Mount points of this machine below a directory, the deepest first."""
    inner = f"{below}/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")  # spaces are octal there, see proc(5)
        if point.startswith(inner):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def loop_devices(below: Path) -> list[str]:
    """Loop devices whose file lies below a directory."""
    inner = f"{below}/"
    listed = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE", "--raw").splitlines()
    pairs = [line.split(" ", 1) for line in listed if " " in line]
    return [name for name, file in pairs if file.startswith(inner)]


def cgroups(lab: str) -> list[Path]:
    """Control groups of a lab's containers, the deepest first; one hierarchy (v2) or several (v1)."""
    tops = [*CGROUPS.glob(f"openraas-lab-{lab}-*"), *CGROUPS.glob(f"*/openraas-lab-{lab}-*")]
    found = [path for top in tops for path in (top, *top.rglob("*")) if path.is_dir()]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def of(lab: str, state_dir: Path | None) -> list[str]:
    """Everything that is left of a lab, one line each; an empty list is what `down` must bring about."""
    left = [f"network namespace {name}" for name in namespaces(lab)]
    left += [f"control group {path}" for path in cgroups(lab)]
    if (Path("/sys/class/net") / f"orlab{lab}").exists():
        left.append(f"interface orlab{lab}")
    left += [
        f"file {path}"
        for path in (RUN / lab, RUN / f"{lab}.run", BASE / lab)
        if path.is_symlink() or path.exists()
    ]
    if state_dir is not None:
        left += [f"mount {point}" for point in mounts(state_dir)]
        left += [f"loop device {name}" for name in loop_devices(state_dir)]
    return left


def clear_processes(lab: str) -> None:
    """End whatever runs in a namespace of the lab."""
    for name in namespaces(lab):
        kill_namespace(NAMESPACES / name)


def clear_network(lab: str) -> None:
    """Remove all namespaces of the lab, and this machine's interface."""
    for name in namespaces(lab):
        remove_namespace(name)
    remove_link(f"orlab{lab}")


def clear_kernel(lab: str, state_dir: Path | None) -> None:
    """Remove mounts, loop devices and control groups that outlived the processes."""
    if state_dir is not None:
        for point in mounts(state_dir):
            run("umount", "--lazy", point)
        for device in loop_devices(state_dir):
            with suppress(LabError):  # one that lets go by itself may have done so since it was listed
                run("losetup", "--detach", device)
    wait_for(lambda: _remove_cgroups(lab), CGROUP_S, f"The control groups of the lab {lab} did not go")


def _remove_cgroups(lab: str) -> bool:
    for path in cgroups(lab):
        with suppress(OSError):  # busy until the last process in it is reaped
            path.rmdir()
    return not cgroups(lab)


def clear_files(lab: str, state: LabState | None) -> None:
    """Remove the lab's files, and its state directory where the lab made it. The link to it goes last."""
    if state is not None:
        shutil.rmtree(state.state_dir / "nodes", ignore_errors=not (state.state_dir / "nodes").exists())
        (state.state_dir / STATE_FILE).unlink(missing_ok=True)
        if state.made_state_dir and state.state_dir.exists():
            shutil.rmtree(state.state_dir)
    for path in (BASE / lab, RUN / f"{lab}.run"):
        if path.exists():
            shutil.rmtree(path)
    (RUN / lab).unlink(missing_ok=True)
    for parent in (RUN, BASE):
        with suppress(OSError):  # other labs are there, or none ever was
            parent.rmdir()
