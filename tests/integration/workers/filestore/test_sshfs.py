"""SSHFS: what a key opens, and that it opens nothing else, whatever its holder tries."""

from __future__ import annotations

import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import psutil

from tests.support.files import MIB, RW, Computer, Store, Use
from tests.support.redis import wait_until
from workers.filestore.errors import StillThere
from workers.filestore.protocols import Admission, Grant
from workers.filestore.protocols.sshfs import SshServer


def configured(store: Store, computer: Computer) -> tuple[Use, Path]:
    """A home in use, and the ssh configuration with which its key reaches the server."""
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=64 * MIB)
    use.begin()
    return use, computer.box.context.paths.keys / "i-1.1.fs-home.rw/ssh_config"


def sftp(config: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """What a client of somebody's own making may ask the server for."""
    return subprocess.run(
        ["sftp", "-F", str(config), "-b", "-", "fileset"],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        timeout=20,
    )


def ssh(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a client may try besides files."""
    return subprocess.run(
        ["ssh", "-F", str(config), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_no_path_leads_out_of_the_fileset(store: Store, computer: Computer, tmp_path: Path) -> None:
    store.put("fs-other", 1, {"private": "of somebody else"})
    _, config = configured(store, computer)
    other = store.volumes.tree("fs-other", 1)
    for path in (
        "/etc/shadow",
        "../etc/shadow",
        "/data/../etc/shadow",
        "../../../../../../etc/hostname",
        "/root/.bashrc",
        "/proc/1/environ",
        f"{other}/private",
        f"../../{other}/private",
        "../fs-other/1/private",
    ):
        done = sftp(config, f"get {path} {tmp_path}/stolen")
        assert done.returncode != 0, path
        assert not (tmp_path / "stolen").exists(), path


def test_a_symlink_to_a_file_of_the_filestore_does_not_reach_it(
    store: Store, computer: Computer, tmp_path: Path
) -> None:
    _, config = configured(store, computer)
    assert sftp(config, "symlink /etc/shadow link", "symlink ../../../etc dir").returncode == 0
    for path in ("link", "dir/shadow"):
        assert sftp(config, f"get {path} {tmp_path}/stolen").returncode != 0
        assert not (tmp_path / "stolen").exists()


def test_a_session_sees_no_other_user_ids_files_and_cannot_make_devices(
    store: Store, computer: Computer
) -> None:
    _, config = configured(store, computer)
    secret = store.paths.exports / "homes/fs-home/data/of-root"
    secret.write_text("root's")
    secret.chmod(0o600)
    assert "Permission denied" in sftp(config, "get of-root /dev/null").stderr
    assert sftp(config, "chown 0 of-root").returncode != 0


def test_what_lies_around_the_fileset_is_read_only(store: Store, computer: Computer) -> None:
    _, config = configured(store, computer)
    for path in ("/new", "/usr/new", "/etc/passwd", "/usr/bin/setpriv"):
        assert sftp(config, f"put /dev/null {path}").returncode != 0


def test_a_key_runs_no_command_and_opens_no_tunnel(store: Store, computer: Computer) -> None:
    _, config = configured(store, computer)
    assert "uid=" not in ssh(config, "fileset", "id").stdout
    forward = f"127.0.0.1:{store.config.filestore_port}"
    done = ssh(config, "-o", "ClearAllForwardings=no", "-W", forward, "fileset")
    assert done.returncode != 0
    assert "OpenSSH" not in done.stdout


def test_roots_own_shell_files_are_not_read(store: Store, computer: Computer) -> None:
    _, config = configured(store, computer)
    process = psutil.Process(store.serving().pop())
    assert process.uids().real == store.volumes.uid("fs-home")
    assert process.environ() == {} or "HOME" not in process.environ()
    assert ssh(config, "fileset").stdout == ""


def test_a_key_ends_with_its_lease(store: Store, computer: Computer) -> None:
    use = Use(store, computer, "fs-home", mode=RW, limit_bytes=64 * MIB, lease_end=time.time() - 1)
    use.export()
    config = computer.box.context.paths.keys / "i-1.1.fs-home.rw"
    from workers.filestore import protocols

    client = protocols.client("sshfs")
    remote = protocols.Remote(
        use.mount_wish.endpoint,  # type: ignore[arg-type]
        use.mount_wish.host_key,  # type: ignore[arg-type]
        RW,
        list(config.glob("key-1")),
    )
    client.configure(remote, config)
    assert "Permission denied" in ssh(config / "ssh_config", "fileset").stderr


def test_a_session_that_begins_while_its_grant_is_closed_is_ended_or_refused(
    store: Store, computer: Computer
) -> None:
    """The fence's promise under fire: whenever `close` returns, nothing of the grant runs any more."""
    use, config = configured(store, computer)
    server = SshServer(store.config, store.paths)
    key = use.export_wish.public_keys[0]
    tree = store.paths.exports / "homes/fs-home/data"
    for attempt in range(12):
        grant = Grant(f"g-race-{attempt}", tree, store.volumes.uid("fs-home"), RW)
        server.open(grant)
        server.admit([Admission(grant.name, key, None)])
        knocking = [
            subprocess.Popen(
                ["sftp", "-F", str(config), "-b", "-", "fileset"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]
        register = store.paths.exports / "sessions" / grant.name
        if attempt % 2:
            wait_until(partial(_has_begun, register), 5, "a session")
        time.sleep(attempt * 0.015)  # another moment of the login each time
        wait_until(partial(_closes, server, grant.name), 60, "the end of all sessions")
        left = store.serving()
        for client in knocking:
            client.kill()
            client.wait()
        mine = [pid for pid in left if _works_in(pid, tree)]
        assert len(mine) <= 1, "only the home's own session may be left"


def test_what_outlives_a_session_that_was_killed_ends_with_the_grant(store: Store) -> None:
    """bwrap's second process, when the first was killed before the second had asked to die with it."""
    server = SshServer(store.config, store.paths)
    grant = Grant("g-orphan", store.paths.exports, store.volumes.uid("fs-home"), RW)
    server.open(grant)
    lock = store.paths.exports / "sessions/g-orphan/lock"
    orphan = subprocess.Popen(["sh", "-c", f"exec 9< {lock}; flock -s 9 && exec sleep 1000"])
    other = subprocess.Popen(["sh", "-c", "exec 9< /dev/null; exec sleep 1000"])
    try:
        wait_until(lambda: "sleep" in Path(f"/proc/{orphan.pid}/comm").read_text(), what="an orphan")
        server.close(grant.name)
        assert orphan.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def _closes(server: SshServer, grant: str) -> bool:
    """As the role does: what has not ended within the limit is tried again."""
    try:
        server.close(grant)
    except StillThere:
        return False
    return True


def _has_begun(register: Path) -> bool:
    return any(register.glob("[0-9]*"))


def _works_in(pid: int, tree: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").stat().st_ino == tree.stat().st_ino
    except OSError:
        return False
