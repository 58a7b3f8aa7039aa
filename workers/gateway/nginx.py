"""nginx of a box: its configuration, made from a template, and the command that runs it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from common import needs
from common.addresses import is_loopback
from common.errors import Unavailable
from common.files import write_atomically
from workers.box.config import NICENESS, BoxConfig, BoxPaths, Identity
from workers.gateway.assets import STATIC

TEMPLATE = Path(__file__).with_name("nginx.conf.template")
CONFIG_FILE = "nginx.conf"
# nginx sets its own priority only where it has a master process. `nice` says so in nginx's log when it may not.
NICE = ("nice", "-n", str(NICENESS))
LOCAL_NAMES = "localhost"
# A browser opens six connections and some WebSockets per instance; a classroom may share one address.
CONNECTIONS_PER_CLIENT = 512

_TLS = """
    # By a variable: each handshake reads the files, so that a renewed certificate needs no restart.
    map "" $certificate {{
        default {certificate};
    }}
    ssl_certificate $certificate;
    ssl_certificate_key {private_key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:1m;
    ssl_session_timeout 1h;
    ssl_session_tickets off;"""

# The same for the file page and for WebDAV. The front tells its own refusals; sessions answer 403 by themselves.
_FILES_SESSION = """\
            auth_request /_openraas/files/auth;
            auth_request_set $files_upstream $upstream_http_x_openraas_upstream;
            auth_request_set $files_root $upstream_http_x_openraas_files_root;
            auth_request_set $files_may $upstream_http_x_openraas_files_may;
            auth_request_set $files_portal $upstream_http_x_openraas_files_portal;
            error_page 401 = /_openraas/files/refused;
            proxy_pass http://$files_upstream;
            proxy_set_header Host $http_host;
            proxy_set_header Authorization "";
            proxy_set_header X-Openraas-Files-Root $files_root;
            proxy_set_header X-Openraas-Files-May $files_may;
            proxy_set_header X-Openraas-Files-Portal $files_portal;
            proxy_set_header X-Forwarded-Proto $scheme;
            # A session is shut in: it must not make this server send files in its place.
            proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering
                X-Accel-Charset;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 600s;
            proxy_send_timeout 60s;"""


def instance_suffix(config: BoxConfig, applications_domain: str) -> str:
    """What follows an instance's id in its host name."""
    if is_loopback(config.address):
        return LOCAL_NAMES
    return f"{config.box}.{applications_domain}"


def render(config: BoxConfig, paths: BoxPaths, applications_domain: str) -> str:
    """nginx.conf of this box. Plain HTTP on loopback, TLS with the box's certificate anywhere else."""
    local = is_loopback(config.address)
    host = f"[{config.address}]" if ":" in config.address else config.address
    values = {
        "RUN": _quoted(paths.run),
        "TEMP": _quoted(paths.gateway / "temp"),
        "ACCESS_LOG": "/dev/stdout",
        "CONNECTIONS": str(CONNECTIONS_PER_CLIENT),
        "FRONT_SOCKET": _quoted(paths.front_socket),
        "STORE": _quoted(paths.store),
        "STATIC": _quoted(STATIC),
        # The store and the front socket are the box's own: the worker keeps the user that owns them.
        "USER": "user root;" if os.geteuid() == 0 else "",
        "LISTEN": f"{host}:{config.front_port}{'' if local else ' ssl'}",
        "FILES_SESSION": _FILES_SESSION,
        "FILES_SUFFIX": instance_suffix(config, applications_domain),
        "SUFFIX": re.escape(instance_suffix(config, applications_domain)),
        "TLS": ""
        if local
        else _TLS.format(
            certificate=_quoted(paths.certificate),
            private_key=_quoted(paths.private_key),
        ),
    }
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def server_command(config: BoxConfig, paths: BoxPaths) -> list[str]:
    """Write the configuration and return what runs nginx in the foreground.

    Raises Unavailable if nginx is not installed, NotFound if the box has not joined.
    """
    program = needs.path_of(needs.NGINX)
    domain = Identity.load(config.state_dir).answer.applications_domain
    file = paths.gateway / CONFIG_FILE
    for directory in (paths.run, paths.gateway / "temp"):
        directory.mkdir(parents=True, exist_ok=True)
    write_atomically(file, render(config, paths, domain))
    first = NICE if os.geteuid() == 0 and shutil.which(NICE[0]) else ()
    return [*first, program, "-p", str(paths.gateway), "-c", str(file), "-e", "stderr", "-g", "daemon off;"]


def _quoted(path: Path) -> str:
    """A path that may stand in nginx.conf; raises Unavailable for one that would end the word."""
    text = str(path.absolute())
    if re.search(r"[\s;{}\"'$\\#]", text):
        raise Unavailable(
            f"nginx cannot be given the path {text!r}.",
            remedy="Choose a state directory without spaces and special characters.",
        )
    return text
