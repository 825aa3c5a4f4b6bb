"""What `daifu doctor` finds: in plain words what is wrong, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy.exc import DBAPIError

from pipeline.broker.port import BrokerUnavailable
from pipeline.errors import DaifuError, UpstreamError
from pipeline.settings import Settings
from pipeline.store.engine import StoreUnavailable

NO_RIGHT: Final = "42501"  # PostgreSQL: insufficient_privilege, a role with least rights


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, and should not stay so
    WRONG = "wrong"
    UNREACHABLE = "unreachable"  # a dependency: exit code 3


class Finding(NamedTuple):
    """`mend`: what to do; empty where nothing is to be done."""

    level: Level
    detail: str
    mend: str = ""


class Wrong(DaifuError):
    """A check can't go on: something is wrong."""

    def __init__(self, detail: str, mend: str) -> None:
        super().__init__(detail)
        self.mend = mend


Check = Callable[[Settings], Sequence[Finding]]


def ok(detail: str) -> Finding:
    return Finding(Level.OK, detail)


def warning(detail: str, mend: str) -> Finding:
    return Finding(Level.WARNING, detail, mend)


def wrong(detail: str, mend: str) -> Finding:
    return Finding(Level.WRONG, detail, mend)


def checked(name: str, check: Check, settings: Settings) -> list[dict[str, Any]]:
    """The rows of one check. `ok`: nothing wrong (a warning is not)."""
    return [
        {
            "name": name,
            "ok": one.level in (Level.OK, Level.WARNING),
            "level": one.level.value,
            "detail": one.detail,
            "mend": one.mend,
        }
        for one in _found(check, settings)
    ]


def _found(check: Check, settings: Settings) -> Sequence[Finding]:
    try:
        return check(settings)
    except Wrong as error:
        return [wrong(str(error), error.mend)]
    except StoreUnavailable as error:
        advice = "check DAIFU_DATABASE_URL, and that the database runs and may be reached from here"
        return [Finding(Level.UNREACHABLE, _line(error), advice)]
    except BrokerUnavailable as error:
        advice = "check DAIFU_BROKER_URL, and that RabbitMQ runs and may be reached from here"
        return [Finding(Level.UNREACHABLE, _line(error), advice)]
    except UpstreamError as error:
        advice = "try the address with curl from this machine: name, route, proxy, certificate"
        return [Finding(Level.UNREACHABLE, _line(error), advice)]
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == NO_RIGHT:
            return [ok("not this process's to look at: `daifu doctor` beside another, or where operators type")]
        return [
            wrong(f"the database refuses a question: {type(error).__name__}", "run `daifu db upgrade`, then this again")
        ]
    except (DaifuError, OSError, ValueError) as error:
        return [wrong(_line(error), "put right what the line names, then run this again")]


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
