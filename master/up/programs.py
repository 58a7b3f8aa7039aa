"""The master's programs, as supervisord keeps them running."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import SecretStr

from common.settings import Settings
from common.supervision import Program, openraas
from master.up.layout import Layout

WEB = "web"
BOX = "box"
FLOWER = "flower"
REDIRECT = "redirect"
WEB_STOP_S = 10
# Between Redis and the engine (10), which all of them need, and the box (70), which needs all of them.
MASTER_PRIORITY = 50
# The box's own supervisord ends four programs, one after the other.
BOX_STOP_S = 60


def environment(settings: Settings) -> dict[str, str]:
    """What a program needs to see the same settings: those that differ from the defaults."""
    chosen = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for name, value in settings:
        if name in chosen and isinstance(value, SecretStr):
            chosen[name] = value.get_secret_value()
    values = {
        f"OPENRAAS_{key.upper()}": json.dumps(value) if isinstance(value, dict | list) else str(value)
        for key, value in chosen.items()
    }
    return {**values, "OPENRAAS_STATE_DIR": str(settings.state_dir), "PYTHONUNBUFFERED": "1"}


def master_programs(settings: Settings, layout: Layout) -> list[Program]:
    """Web, schedulers, lifecycle, beat and Flower."""
    common = environment(settings)

    def module(name: str, path: str, *arguments: str) -> Program:
        return Program(
            name, (sys.executable, "-m", path, *arguments), common, MASTER_PRIORITY, autostart=False
        )

    more = [
        module(f"scheduler-{number}", "master.scheduler.main", str(number))
        for number in range(2, settings.scheduler_processes + 1)
    ]

    if settings.portal_tls and settings.redirect_port:
        more.append(Program(REDIRECT, _redirect(settings, layout), common, MASTER_PRIORITY, autostart=False))
    return [
        Program(
            WEB,
            web_command(settings, layout),
            common,
            MASTER_PRIORITY,
            stop_wait_s=WEB_STOP_S,
            autostart=False,
        ),
        module("scheduler", "master.scheduler.main"),
        *more,
        module("lifecycle", "master.lifecycle.main"),
        module("beat", "master.lifecycle.beat"),
        module(FLOWER, "master.up.flower_main"),
    ]


def web_command(settings: Settings, layout: Layout) -> tuple[str, ...]:
    """One process with threads: the page's event streams each hold one, and the metrics stay whole.

    Threads are made as they are needed. Each connection counts, also one that a browser keeps and does not use.
    """
    threads = settings.web_threads + settings.web_streams
    command = [
        *(sys.executable, "-m", "gunicorn", "master.web.wsgi:app"),
        *("--bind", f"{_host(settings.listen)}:{settings.web_port}"),
        *("--worker-class", "gthread", "--threads", str(threads)),
        *("--worker-connections", str(2 * threads)),
        *("--keep-alive", "75", "--graceful-timeout", str(WEB_STOP_S // 2), "--timeout", "60"),
        *("--worker-tmp-dir", _memory_folder(layout), "--no-control-socket"),
    ]
    if settings.portal_tls:
        command += ["--certfile", str(layout.master.certificate), "--keyfile", str(layout.master.private_key)]
    return tuple(command)


def _redirect(settings: Settings, layout: Layout) -> tuple[str, ...]:
    """Sends browsers without TLS on to the portal."""
    return (
        *(sys.executable, "-m", "gunicorn", "master.web.redirect:app"),
        *("--bind", f"{_host(settings.listen)}:{settings.redirect_port}"),
        *("--worker-class", "gthread", "--threads", "4"),
        *("--worker-tmp-dir", _memory_folder(layout), "--no-control-socket"),
    )


def _host(listen: str) -> str:
    return f"[{listen}]" if ":" in listen else listen


def _memory_folder(layout: Layout) -> str:
    """gunicorn's workers touch a file every second; on a disk that is busy this can end them."""
    shared = Path("/dev/shm")  # noqa: S108 -- gunicorn makes a private file in it
    return str(shared if shared.is_dir() else layout.master.run)


def box_program(layout: Layout, engine_url: str) -> Program:
    """The box beside the master, with a supervisord of its own. `box.toml` may name another engine."""
    command = openraas("box", "run", "--state-dir", str(layout.box))
    engine = {"DOCKER_HOST": engine_url}
    return Program(BOX, command, engine, priority=70, stop_wait_s=BOX_STOP_S, autostart=False)
