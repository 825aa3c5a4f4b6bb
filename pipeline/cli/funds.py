"""`daifu funds`."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from pipeline import operations_agents as operations
from pipeline.cli.context import Moment, acting, query, read_settings, write
from pipeline.cli.output import as_json, emit, note, table, yuan
from pipeline.ledger import ACCOUNT_WORDS, Account
from pipeline.operations_errors import NotFound
from pipeline.store import accounts
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.queries import Json, funds_of
from pipeline.store.queries_funds import funds_of_all, statement, trial_balance

MOST = 100_000


@click.group()
def funds() -> None:
    """An agent's balances and top-ups."""


@funds.command("top-up")
@click.argument("agent")
@click.option("--fen", type=click.IntRange(min=1), required=True, help="Amount in 分.")
@click.option("--reason", required=True, help="Why, for the audit log and the posting.")
@as_json
@acting
def top_up(agent: str, fen: int, reason: str, *, json_: bool, actor: str) -> None:
    """Money came from the bank into the agent's procurement fund (采购资金)."""

    def work(tx: Transaction) -> Json:
        operations.top_up_fund(tx, agent, fen, reason, actor)
        return funds_of(tx, agent)

    balances = write(work, read_settings())
    emit(balances, json_=json_, human=lambda: _human(balances))


@funds.command("show")
@click.argument("agent")
@as_json
def show(agent: str, *, json_: bool) -> None:
    """Balances of an agent, in 分."""

    def work(tx: Transaction) -> Json:
        if not accounts.known_agents(tx, [agent]):
            raise NotFound(f"no agent {agent}: see `daifu agents list`")
        return funds_of(tx, agent)

    balances = query(work)
    emit(balances, json_=json_, human=lambda: _human(balances))


@funds.command("list")
@as_json
def list_(*, json_: bool) -> None:
    """Every agent's balances, what waits to be paid, and whether its procurement fund will do (level: fine, low, short)."""
    settings = read_settings()
    rows = query(lambda tx: funds_of_all(tx, settings.fund_warn_fen), settings)
    emit(rows, json_=json_, human=lambda: _table(rows))


@funds.command("statement")
@click.argument("agent")
@click.option(
    "--account", type=click.Choice([one.value for one in Account]), default=Account.PROCUREMENT.value, show_default=True
)
@click.option("--since", type=Moment(), help="From when on [default: 30 days ago].")
@click.option("--until", type=Moment(), help="Until before when [default: now].")
@as_json
def statement_(agent: str, account: str, since: datetime | None, until: datetime | None, *, json_: bool) -> None:
    """资金流水 of one account: opening and closing balance, and each entry with the balance after it."""

    def work(tx: Transaction) -> Json:
        if not accounts.known_agents(tx, [agent]):
            raise NotFound(f"no agent {agent}: see `daifu agents list`")
        end = until or now(tx)
        return statement(tx, agent, Account(account), since or end - timedelta(days=30), end, limit=MOST)

    seen = query(work)
    if seen["next"] is not None:
        note(f"only the first {MOST} entries: choose a shorter time")
    columns = ("at", "kind", "order_no", "others", "amount", "balance", "note")
    ends = f"opening {yuan(seen['opening_fen'])}, closing {yuan(seen['closing_fen'])}, {seen['entries']} entries"
    emit(seen, json_=json_, human=lambda: f"{table([_in_yuan(row) for row in seen['rows']], columns)}\n{ends}")


@funds.command("trial-balance")
@click.option("--at", type=Moment(), help="Just before when [default: now].")
@click.option("--agent", help="Of this agent alone.")
@as_json
@click.pass_context
def trial_balance_(ctx: click.Context, at: datetime | None, agent: str | None, *, json_: bool) -> None:
    """What every account held at a moment, per agent and in all. Exits 1 where it does not sum to zero."""
    seen = query(lambda tx: trial_balance(tx, at or now(tx), agent))
    rows = [_in_yuan(row) for row in (*seen["agents"], {"agent": "total", **seen["total"]})]
    emit(seen, json_=json_, human=lambda: f"{table(rows, tuple(rows[0]))}\nsum {yuan(seen['sum_fen'])}")
    if seen["sum_fen"]:
        ctx.exit(1)


def _table(rows: list[Json]) -> str:
    shown = [_in_yuan(row) for row in rows]
    return table(shown, tuple(shown[0]) if shown else ())


def _in_yuan(row: Json) -> Json:
    """Amounts under their names without `_fen`, in yuan."""
    return {name.removesuffix("_fen"): yuan(value) if name.endswith("_fen") else value for name, value in row.items()}


def _human(balances: Json) -> str:
    rows = [
        {"account": ACCOUNT_WORDS[account], "fen": balances[f"{account}_fen"], "元": yuan(balances[f"{account}_fen"])}
        for account in Account
        if f"{account}_fen" in balances
    ]
    return table(rows, ("account", "fen", "元"))
