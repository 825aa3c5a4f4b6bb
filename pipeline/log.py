"""structlog for every process: JSON lines with static event names, readable on a terminal; always on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from pipeline.secret import Secret

REDACTED = frozenset({"password", "password_sealed", "key", "secret", "authorization", "hmac", "cookie"})


def _redact(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A last net: a field with a secret's name or type never reaches the line."""
    for name, value in event.items():
        if name.lower() in REDACTED or isinstance(value, Secret):
            event[name] = "***"
    return event


def set_up(*, quiet: bool = False) -> None:
    """Configure structlog for this process; `quiet` shows warnings and worse only."""
    readable = sys.stderr.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    if readable:
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        # Tracebacks without locals: what a frame held may have been a password.
        processors.append(structlog.processors.format_exc_info)
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
