"""Which error means which exit code (INTERFACES section 1), and what to do about it."""

from __future__ import annotations

from typing import Final

import click
from sqlalchemy.exc import DBAPIError

from pipeline.acceptance import Conflict
from pipeline.broker.declare import TopologyDiffers
from pipeline.broker.port import BrokerUnavailable, Unroutable
from pipeline.errors import DaifuError, UsageProblem
from pipeline.operations_errors import NotFound, Refused
from pipeline.settings import SettingsError
from pipeline.store.engine import StoreUnavailable, UnsafeDatabase
from pipeline.vault import VaultError
from producers import sdk_errors


class CheckFailed(click.ClickException):
    exit_code = 1


class Usage(click.ClickException):
    exit_code = 2


class Unreachable(click.ClickException):
    exit_code = 3


class RefusedByGuard(click.ClickException):
    exit_code = 4


NO_TABLES: Final = "the database has no tables of daifu, or older ones: run `daifu db upgrade`"

_BY_ERROR: Final[tuple[tuple[type[Exception], type[click.ClickException], str], ...]] = (
    (Refused, RefusedByGuard, ""),
    (Conflict, RefusedByGuard, ""),
    (NotFound, CheckFailed, ""),
    (SettingsError, Usage, "see `daifu settings` for every setting and its default"),
    (VaultError, Usage, "make the key rings with `daifu vault keygen`, or name them in DAIFU_VAULT_FILE, "
     "DAIFU_VAULT_PUBLIC_KEY and DAIFU_SERVICE_KEYS_FILE"),
    (UnsafeDatabase, Usage, ""),
    (StoreUnavailable, Unreachable, "check DAIFU_DATABASE_URL (for SQLite: DAIFU_HOME) and that the database runs; "
     "nothing was changed, the same command may be given again"),
    (BrokerUnavailable, Unreachable, "check DAIFU_BROKER_URL and that RabbitMQ runs"),
    (sdk_errors.Unreachable, Unreachable, "check DAIFU_BROKER_URL and that RabbitMQ runs, then publish the same file again: what "
     "arrived is known by its id"),
    (Unroutable, Unreachable, "run `daifu topology apply`"),
    (TopologyDiffers, CheckFailed, "see `daifu topology check`"),
    (UsageProblem, Usage, ""),
    (DaifuError, CheckFailed, ""),
)  # fmt: skip


def failure_of(error: Exception) -> click.ClickException | None:
    """The failure to show for `error`; None for a defect, whose traceback is wanted."""
    if _no_tables(error):
        return Usage(NO_TABLES)
    for kind, failure, advice in _BY_ERROR:
        if isinstance(error, kind):
            return failure(f"{error}\n  {advice}" if advice else str(error))
    return None


def _no_tables(error: Exception) -> bool:
    orig = getattr(error, "orig", None) if isinstance(error, DBAPIError) else None
    undefined = getattr(orig, "sqlstate", None) in ("42P01", "42703")  # undefined table, undefined column
    text = str(error) if isinstance(error, StoreUnavailable) else str(orig or "")
    return undefined or text.startswith(("no such table", "no such column", "table "))
