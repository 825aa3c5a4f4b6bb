"""What goes wrong with a database, told apart: away, in doubt, not to be trusted, or a defect of ours."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from pipeline.errors import DaifuError

# PostgreSQL: connection lost, out of resources, shutting down, broken system; read-only after a fail-over; ended for being
# silent for too long; what still collides after all tries.
_AWAY = ("08", "53", "57", "58", "25006", "25P03", "40")
_NOT_UNDERSTOOD: Final = "08P01"  # what we sent: it would be no better the next time
# sqlite3.SQLITE_ERROR, what SQLite calls a statement it can't run. Its module is not imported where PostgreSQL is the database.
_SQLITE_ERROR: Final = 1
# Of connecting, not of a connection over TLS that broke ("SSL connection has been closed", "SSL SYSCALL error").
_IS_ABOUT_TLS = re.compile(r"certificate|SSL error|support SSL|no encryption")
TLS_ADVICE = (
    "in DAIFU_DATABASE_URL sslmode=verify-full wants a server with TLS, sslrootcert=FILE the authority of its certificate, and "
    "the host the name that it was issued for"
)


class StoreUnavailable(DaifuError):
    """The database could not be reached or broke off; nothing of the transaction was stored, unless CommitUnknown."""


class CommitUnknown(StoreUnavailable):
    """The connection broke during COMMIT: the transaction is stored or it is not; read again to know."""


class UnsafeDatabase(DaifuError):
    """The database is set up so that a commit could be lost; daifu refuses to start."""


def translated(error: DBAPIError) -> Exception:
    """Connection trouble becomes StoreUnavailable; a constraint or a wrong statement stays what it is: a defect."""
    orig = error.orig
    sqlstate = getattr(orig, "sqlstate", None)
    away = sqlstate is not None and sqlstate.startswith(_AWAY) and sqlstate != _NOT_UNDERSTOOD
    broken = error.connection_invalidated or away
    unreachable = isinstance(error, OperationalError | InterfaceError) and sqlstate is None
    if getattr(orig, "sqlite_errorcode", None) == _SQLITE_ERROR:
        unreachable = False
    if broken or unreachable:
        return StoreUnavailable(_words(orig))
    return error


def _words(orig: BaseException | None) -> str:
    """The first line of what the driver says; where TLS was not agreed upon, the line about that, and what to do."""
    lines = str(orig).strip().splitlines() or [type(orig).__name__]
    about_tls = next((line.strip(" \t-") for line in lines if _IS_ABOUT_TLS.search(line)), None)
    return lines[0] if about_tls is None else f"{about_tls}; {TLS_ADVICE}"
