"""structlog for every process: JSON lines with static event names, readable on a terminal; always on stderr."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

import structlog

from pipeline.secret import Secret

# Their messages quote what was being stored or read: parameters, "Failing row contains (…)", input values.
QUOTING = ("sqlalchemy", "psycopg", "sqlite3", "pydantic", "pydantic_core")
LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}  # debug: a line for each order
REDACTED = frozenset({"password", "password_sealed", "key", "secret", "authorization", "hmac", "cookie"})


#: What every line of this task is about: set once per call, read only when a line is written.
_ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


def about(**fields: Any) -> None:
    """From here on every line of this task names these, in place of what `about` said before."""
    _ABOUT.set(fields)


def _say_about(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in _ABOUT.get().items():
        event.setdefault(name, value)
    return event


def _redact(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A last net: a field with a secret's name or type never reaches the line."""
    for name, value in event.items():
        if name.lower() in REDACTED or isinstance(value, Secret):
            event[name] = "***"
    return event


def words_of(error: BaseException) -> str:
    """The last line of a traceback; of an error that may quote data, its type and SQLSTATE only."""
    if not any(cls.__module__.partition(".")[0] in QUOTING for cls in type(error).__mro__):
        return "".join(traceback.format_exception_only(error))
    sqlstate = getattr(getattr(error, "orig", error), "sqlstate", None)
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"{name}\n" if sqlstate is None else f"{name}: SQLSTATE {sqlstate}\n"


def traceback_of(error: BaseException, known: frozenset[int] = frozenset()) -> str:
    """As Python prints it, causes first, without locals (what a frame held may have been a password) and without the data
    that database errors quote. `known`: what is being printed already, for an error may be its own cause."""
    known = known | {id(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None or id(cause) in known else f"{traceback_of(cause, known)}\nwhich led to:\n\n"
    inside = ""
    if isinstance(error, BaseExceptionGroup):
        inside = "".join(traceback_of(one, known) for one in error.exceptions if id(one) not in known)
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}Traceback (most recent call last):\n{frames}{words_of(error)}{inside}"


def _exception(exc_info: structlog.typing.ExcInfo) -> str:
    return traceback_of(exc_info[1]).rstrip("\n")


def _plain_exception(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    stream.write("\n" + _exception(exc_info))


def set_up(*, quiet: bool = False, level: str = "info") -> None:
    """Configure structlog for this process, from `level` (info, debug) on; `quiet` shows warnings and worse only."""
    readable = sys.stderr.isatty()
    processors: list[Any] = [
        _say_about,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    if readable:
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=_plain_exception))
    else:
        processors.append(structlog.processors.ExceptionRenderer(_exception))
        processors.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
