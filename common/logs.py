"""Structured logs: one JSON object a line (or text for people), instance id and box on every line.

`bind(instance=…)` adds fields to every later line of the same thread or task; libraries that log through
the standard module pass through the same formatting.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

# structlog.dev imports rich where it finds it, for tracebacks that we do not use: 7 MB and 50 ms in every process.
_rich_is_new = "rich" not in sys.modules
if _rich_is_new:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402

if _rich_is_new:
    del sys.modules["rich"]

bind = structlog.contextvars.bound_contextvars

# These tell of each task that it came and went, several times a second on a platform where nothing happens.
_CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat")

# What looks like a capability is cut short, so that a log never lends anybody anything.
_SECRETS = re.compile(r"(ticket=|Bearer |://[^:/@\s]*:)[^\s&@\"']+")


def redact(text: str) -> str:
    """`text` without tickets, bearer tokens and passwords in URLs."""
    return _SECRETS.sub(r"\1…", text)


def _redact_event(_: Any, __: str, event: Any) -> Any:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event


def configure(level: str = "INFO", *, json_lines: bool = True, **fields: str) -> None:
    """Send all logs of this process to standard error; `fields` stand on every line, of whatever thread."""

    def add_fields(_: Any, __: str, event: Any) -> Any:
        return {**fields, **event}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, _redact_event, structlog.processors.JSONRenderer()]
        if json_lines
        else [_redact_event, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if root.level <= logging.DEBUG else logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose calls take an event and fields: `log.info("layer fetched", digest=…)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
