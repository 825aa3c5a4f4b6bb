"""`daifu funds`."""

from __future__ import annotations

import click

from pipeline import operations_agents as operations
from pipeline.cli.context import acting, query, read_settings, write
from pipeline.cli.output import as_json, emit, table, yuan
from pipeline.ledger import ACCOUNT_WORDS, Account
from pipeline.operations_errors import NotFound
from pipeline.store import accounts
from pipeline.store.engine import Transaction
from pipeline.store.queries import Json, funds_of


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
        if not accounts.load_agents(tx, [agent]):
            raise NotFound(f"no agent {agent}: see `daifu agents list`")
        return funds_of(tx, agent)

    balances = query(work)
    emit(balances, json_=json_, human=lambda: _human(balances))


def _human(balances: Json) -> str:
    rows = [
        {"account": ACCOUNT_WORDS[account], "fen": balances[f"{account}_fen"], "元": yuan(balances[f"{account}_fen"])}
        for account in Account
        if f"{account}_fen" in balances
    ]
    return table(rows, ("account", "fen", "元"))
