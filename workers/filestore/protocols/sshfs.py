"""SSHFS, the filestore's side: one OpenSSH server per box, without user accounts.

Every login is root's, by a key that does one thing: run `enter` with the name of a grant. `enter` registers its
process, makes sure that the grant still stands, goes into a mount namespace that holds the fileset's tree and
nothing else, drops to the fileset's one user id and becomes `sftp-server`.

A session holds a shared lock (flock) for as long as any process of it lives. Closing a grant removes it first,
then kills who is registered, then takes the lock exclusively: who came too late finds no grant, who was
there is dead, and having the lock proves it.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from common import needs
from common.files import write_atomically, write_secret
from workers.box.config import BoxConfig, BoxPaths
from workers.filestore import programs
from workers.filestore.errors import NotPossibleHere, StillThere
from workers.filestore.processes import Process, kill
from workers.filestore.protocols import Admission, Grant, check_keys

# Where Debian and other systems put it.
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
)
# sshd wants this empty directory of its own (compiled in); it lies on a tmpfs and may vanish with another sshd.
PRIVILEGE_SEPARATION = Path("/run/sshd")
CLOSE_LIMIT_S = 5.0
CLOSE_POLL_S = 0.005
# What holds the lock for so long after its session was killed does not end with it: bwrap's second process, if the
# first was killed before the second had asked the kernel to die with it.
ORPHANS_AFTER_S = 0.5
LOGIN_LIMIT_S = 10
# A client that sends nothing for 45 s is gone: its sessions end.
ALIVE_EVERY_S, ALIVE_COUNT = 15, 3

_CONFIG = """\
# Written by openraas. The filestore's own server: keys that open one fileset each, and nothing else.
ListenAddress {address}
Port {port}
AddressFamily any
HostKey {host_key}
HostKeyAlgorithms ssh-ed25519
PubkeyAcceptedAlgorithms ssh-ed25519
PidFile none
AuthorizedKeysFile {authorized_keys}
# The state directory may lie anywhere; the file itself is root's alone (0600).
StrictModes no
AllowUsers root
PermitRootLogin forced-commands-only
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {pam}
DisableForwarding yes
PermitTTY no
PermitTunnel no
PermitUserRC no
PermitUserEnvironment no
# Keeps bash from reading root's .bashrc for a session, whose output would break the protocol.
SetEnv SHLVL=1
PrintMotd no
PrintLastLog no
UseDNS no
Compression no
LoginGraceTime {login}
# A classroom mounts at once; the default would drop connections from the tenth on.
MaxStartups 200:30:400
ClientAliveInterval {alive_every}
ClientAliveCountMax {alive_count}
# Clients ask for the subsystem; what runs is always the key's forced command.
Subsystem sftp /bin/false
LogLevel ERROR
{more}"""

_ENTER = """\
#!/bin/sh
# Written by openraas. Forced command of the filestore's sshd: enters the fileset of the grant $1.
set -eu
cd {root}
grant=$1
read -r own < /proc/$$/stat
read -r parent < /proc/$PPID/stat
exec 9< "sessions/$grant/lock"
# First the name in the register, then the look at the grant: who closes it does the reverse.
printf '%s\\n%s\\n' "$own" "$parent" > "sessions/$grant/$$"
{flock} -s -w {limit} 9
if [ ! -e "grants/$grant" ]; then
    echo "openraas: this key no longer opens anything here" >&2
    exit 1
fi
{{ read -r uid; read -r mode; read -r tree; }} < "grants/$grant"
if [ "$mode" = rw ]; then bind=--bind only=; else bind=--ro-bind only=-R; fi
exec {bwrap} --unshare-pid --unshare-ipc --unshare-uts --unshare-net --die-with-parent \\
    --perms 0755 --dir /usr --perms 0755 --dir /usr/bin --perms 0755 --dir /etc --perms 0755 --dir /dev \\
    --ro-bind /usr/lib /usr/lib --ro-bind-try /usr/lib64 /usr/lib64 --ro-bind-try /usr/libexec /usr/libexec \\
    --symlink usr/lib /lib --symlink usr/lib64 /lib64 \\
    --ro-bind {setpriv} /usr/bin/setpriv --dev-bind /dev/null /dev/null \\
    --perms 0644 --ro-bind-data 8 /etc/passwd "$bind" "$tree" /data --remount-ro / --chdir /data \\
    --clearenv \\
    /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all \\
    {sftp_server} -d /data -u 0 $only 8<<EOF
fileset:x:$uid:$uid::/data:/
EOF
"""


def server_command(config: BoxConfig, paths: BoxPaths) -> list[str]:
    """Write what the server needs and return its command line; it stays in the foreground.

    Raises Unavailable if a program is missing, NotPossibleHere if this user may not serve files.
    """
    server = SshServer(config, paths)
    server.prepare()
    return server.command()


def expiry(at: float) -> str:
    """Unix time as `authorized_keys` writes it (sshd(8), expiry-time), in UTC."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))


def authorized_key(admission: Admission, enter: Path) -> str:
    """One line of `authorized_keys`; raises Refused for what is not an ed25519 key."""
    check_keys([admission.public_key])
    limit = f'expiry-time="{expiry(admission.expires_at)}",' if admission.expires_at is not None else ""
    return f'restrict,{limit}command="/bin/sh {enter} {admission.grant}" {admission.public_key}\n'


class SshServer:
    """Grants as files under the box's `exports` directory, which `enter` reads anew for each session."""

    def __init__(self, config: BoxConfig, paths: BoxPaths) -> None:
        self._config = config
        self._root = paths.exports
        self._config_file = self._root / "sshd_config"
        self._host_key = self._root / "host_key"
        self._authorized_keys = self._root / "authorized_keys"
        self._enter = self._root / "enter"
        self._grants = self._root / "grants"
        self._sessions = self._root / "sessions"

    def prepare(self) -> None:
        """Keys, configuration and the forced command; may be done again at any time."""
        if os.geteuid() != 0:
            raise NotPossibleHere(
                "A filestore has to run as root: it gives every fileset a user id of its own.",
                remedy="Start the box as root, or join it without the role filestore.",
            )
        if not re.fullmatch(r"[\w./@+-]+", str(self._root)):
            raise NotPossibleHere(
                f"sshd cannot use the state directory {self._root}.",
                remedy="Choose a path of letters, digits and . _ - / only.",
            )
        for directory in (self._root, self._grants, self._sessions):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keep()
        self._make_host_key()
        write_atomically(self._enter, self._enter_script(), mode=0o600)
        if not self._authorized_keys.exists():
            write_secret(self._authorized_keys, "", keep_existing=True)
        write_atomically(self._config_file, self._configuration())

    def command(self) -> list[str]:
        """sshd starts itself anew for each connection, so its path has to be absolute."""
        return [needs.path_of(needs.SSHD), "-D", "-e", "-f", str(self._config_file)]

    def keep(self) -> None:
        """Another sshd on this machine takes the directory along when it ends; sessions that ended by themselves
        leave their entry in the register."""
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        for entry in self._sessions.glob("*/[0-9]*"):
            registered = _registered(entry)
            if registered and not registered[0].lives:
                entry.unlink(missing_ok=True)

    def host_key(self) -> str:
        """Made by whichever process of the box comes first."""
        return programs.public_half(str(self._host_key))

    def open(self, grant: Grant) -> None:
        """Opening a grant that is open changes nothing."""
        session = self._sessions / grant.name
        session.mkdir(exist_ok=True, mode=0o700)
        (session / "lock").touch(mode=0o600)
        text = f"{grant.uid}\n{grant.mode.value}\n{grant.tree}\n"
        write_atomically(self._grants / grant.name, text, mode=0o600)

    def admit(self, admissions: Iterable[Admission]) -> None:
        """Raises Refused, and changes nothing, if one of the keys is no key."""
        text = "".join(authorized_key(admission, self._enter) for admission in admissions)
        if self._authorized_keys.read_text() != text:
            write_secret(self._authorized_keys, text)

    def close(self, grant: str) -> None:
        """See the module's description for why nothing is left when this returns."""
        (self._grants / grant).unlink(missing_ok=True)
        session = self._sessions / grant
        if not session.is_dir():
            return
        began = time.monotonic()
        while True:
            _kill_registered(session)
            if _is_unused(session / "lock"):
                break
            waited_s = time.monotonic() - began
            if waited_s > ORPHANS_AFTER_S:
                _kill_holders(session / "lock")
            if waited_s > CLOSE_LIMIT_S:
                raise StillThere(f"Sessions of a fileset did not end within {CLOSE_LIMIT_S:g} s.")
            time.sleep(CLOSE_POLL_S)
        gone = self._sessions / f".{grant}"
        session.rename(gone)  # where no session that comes too late finds it, but one that was on its way in
        programs.remove_tree(str(gone))

    def _make_host_key(self) -> None:
        if self._host_key.exists():
            return
        with tempfile.TemporaryDirectory(dir=self._root) as directory:
            made = Path(directory) / "key"
            programs.make_key(str(made))
            write_secret(self._host_key, made.read_text(), keep_existing=True)

    def _configuration(self) -> str:
        return _CONFIG.format(
            address=self._config.address,
            port=self._config.filestore_port,
            host_key=self._host_key,
            authorized_keys=self._authorized_keys,
            pam="yes" if _root_is_locked() else "no",
            login=LOGIN_LIMIT_S,
            alive_every=ALIVE_EVERY_S,
            alive_count=ALIVE_COUNT,
            # From 9.8 on sshd shuts out addresses whose keys were refused; ours are refused at every end.
            more="PerSourcePenalties no\n" if _version() >= (9, 8) else "",
        )

    def _enter_script(self) -> str:
        return _ENTER.format(
            root=self._root,
            limit=LOGIN_LIMIT_S,
            flock=needs.path_of(needs.FLOCK),
            bwrap=needs.path_of(needs.BUBBLEWRAP),
            setpriv=needs.path_of(needs.SETPRIV),
            sftp_server=_sftp_server(),
        )


def _kill_registered(session: Path) -> None:
    """End every process that registered: the session's own, and sshd's for its connection."""
    for entry in session.glob("[0-9]*"):
        for process in _registered(entry):
            kill(process, signal.SIGKILL)


def _kill_holders(lock: Path) -> None:
    """End every other process that has the lock open: only sessions of this grant ever open it."""
    wanted = lock.stat()
    for handle in Path("/proc").glob("[0-9]*/fd/9"):
        process = Process.find(int(handle.parts[2]))
        if process is None or process.pid == os.getpid():
            continue
        with suppress(OSError):  # it ended just now
            facts = handle.stat()
            if (facts.st_dev, facts.st_ino) == (wanted.st_dev, wanted.st_ino):
                kill(process, signal.SIGKILL)


def _registered(entry: Path) -> list[Process]:
    """The processes of an entry in the register; none while it is being written."""
    try:
        lines = entry.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [process for line in lines if (process := Process.parse(line)) is not None]


def _is_unused(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _sftp_server() -> str:
    for path in SFTP_SERVERS:
        if Path(path).exists():
            return path
    raise NotPossibleHere(
        "This machine has no sftp-server.",
        remedy="Run as root: apt-get install --no-install-recommends openssh-sftp-server",
    )


def _root_is_locked() -> bool:
    """Without PAM sshd lets nobody in whose password is locked with `!` (sshd_config(5), UsePAM)."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("root:!") for line in lines)


def _version() -> tuple[int, int]:
    """OpenSSH's version; (0, 0) if the program does not say."""
    text = programs.run([needs.path_of(needs.SSH), "-V"])
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
