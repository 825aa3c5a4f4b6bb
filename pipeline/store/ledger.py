"""Postings into tables: each once by its key, guarded accounts never below zero (DESIGN section 6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from pipeline.errors import DaifuError
from pipeline.ledger import GUARDED, Account, Posting
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.tables import ledger_balances, ledger_entries, ledger_postings
from pipeline.store.types import db_now

_add_to_balance = (
    update(ledger_balances)
    .where(
        ledger_balances.c.agent == bindparam("g"),
        ledger_balances.c.account == bindparam("acc"),
        ledger_balances.c.balance_fen + bindparam("delta") >= 0,
    )
    .values(balance_fen=ledger_balances.c.balance_fen + bindparam("delta"))
)
_balances = select(ledger_balances.c.account, ledger_balances.c.balance_fen).where(
    ledger_balances.c.agent == bindparam("g")
)
_in_flight = select(func.coalesce(func.sum(ledger_balances.c.balance_fen), 0)).where(
    ledger_balances.c.account == Account.IN_FLIGHT.value
)
_now = select(db_now())


class Overdrawn(DaifuError):
    """A guarded account does not hold what a posting takes from it. Nothing of the posting may stay: roll back."""

    def __init__(self, agent: str, account: Account, wanted_fen: int) -> None:
        super().__init__(f"{agent}: {account} does not hold {wanted_fen} fen")
        self.agent, self.account, self.wanted_fen = agent, account, wanted_fen


def apply(tx: Transaction, postings: Sequence[Posting]) -> set[str]:
    """Store postings whose key is new and move the balances by one summed delta per account. Returns the new keys.

    Raises Overdrawn; the caller rolls back (a savepoint, or all of it).
    """
    at = tx.run(_now).scalar_one()
    by_key = {posting.key: posting for posting in postings}  # two copies in one batch are one
    new = insert_new(
        tx,
        ledger_postings,
        [
            {
                "key": p.key,
                "kind": p.kind.value,
                "agent": p.agent,
                "order_no": p.order_no,
                "attempt_id": p.attempt_id,
                "note": p.note,
                "at": at,
            }
            for p in by_key.values()
        ],
        ledger_postings.c.key,
    )
    fresh = [p for p in by_key.values() if p.key in new]
    entries = [
        {"posting_key": p.key, "agent": p.agent, "account": account.value, "amount_fen": fen}
        for p in fresh
        for account, fen in p.legs
    ]
    insert_rows(tx, ledger_entries, entries)
    deltas: dict[tuple[str, Account], int] = defaultdict(int)
    for posting in fresh:
        for account, fen in posting.legs:
            if account in GUARDED:
                deltas[posting.agent, account] += fen
    for (agent, account), delta in sorted(deltas.items()):
        _move(tx, agent, account, delta)
    return new


def _move(tx: Transaction, agent: str, account: Account, delta: int) -> None:
    values = {"g": agent, "acc": account.value, "delta": delta}
    if delta == 0 or tx.moved(_add_to_balance, values):
        return
    if delta > 0:
        row = {"agent": agent, "account": account.value, "balance_fen": delta}
        if insert_new(tx, ledger_balances, [row], ledger_balances.c.agent) or tx.moved(_add_to_balance, values):
            return
    raise Overdrawn(agent, account, -delta)


def balances(tx: Transaction, agent: str) -> dict[Account, int]:
    """All guarded balances of an agent, 0 where nothing was ever posted."""
    stored = {row.account: row.balance_fen for row in tx.rows(_balances, {"g": agent})}
    return {account: int(stored.get(account.value, 0)) for account in Account if account in GUARDED}


def in_flight_fen(tx: Transaction) -> int:
    """The money whose fate is open, over all agents."""
    return int(tx.run(_in_flight).scalar_one())
