"""`daifu accounts`."""

from __future__ import annotations

import click

from pipeline import operations
from pipeline.cli.context import acting, query, write
from pipeline.cli.output import as_json, emit, table
from pipeline.store.clock import now
from pipeline.store.queries_desk import list_accounts

COLUMNS = ("account", "blocked", "refused_tries", "refused_passwords", "locked_until", "paused", "in_use_until")


@click.group()
def accounts() -> None:
    """12306 accounts and what blocks them."""


@accounts.command("list")
@as_json
def list_(*, json_: bool) -> None:
    """Accounts that were ever logged in to."""
    rows = query(lambda tx: list_accounts(tx, now(tx)))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@accounts.command("unblock")
@click.argument("account", metavar="UN")
@as_json
@acting
def unblock(account: str, *, json_: bool, actor: str) -> None:
    """The account was put right at 12306: forget refused tries and passwords."""
    write(lambda tx: operations.unblock(tx, account, actor))
    emit({"account": account, "blocked": False}, json_=json_, human=lambda: f"{account}: unblocked")
