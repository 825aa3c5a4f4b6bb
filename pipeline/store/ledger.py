"""Postings into tables: each once by its key, guarded accounts never below zero (DESIGN section 6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Text, Update, bindparam, func, select, text, update

from pipeline.errors import DaifuError
from pipeline.ledger import GUARDED, Account, Posting
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_returning, insert_rows
from pipeline.store.sets import Given, OverRows
from pipeline.store.tables import ledger_balances, ledger_entries, ledger_postings, orders, purchases
from pipeline.store.types import one_of


def _adding(given: Given) -> Update:
    """PostgreSQL locks the accounts first, in one order: two transactions that meet in several would else take them in whatever
    order the plan of the update has. What may be taken is guarded by the update itself."""
    moved, which = given.rows, given.names(ledger_balances.c.agent, "agent")
    if not given.is_json:
        moved = (
            select(ledger_balances.c.agent, ledger_balances.c.account, given.c.delta)
            .where(given.has(ledger_balances.c.agent, "agent"), ledger_balances.c.account == given.c.account)
            .order_by(ledger_balances.c.agent, ledger_balances.c.account)
            .with_for_update(of=ledger_balances)
            .cte("moved")
        )
    return (
        update(ledger_balances)
        .where(
            which,
            ledger_balances.c.agent == moved.c.agent,
            ledger_balances.c.account == moved.c.account,
            ledger_balances.c.balance_fen + moved.c.delta >= 0,
        )
        .values(balance_fen=ledger_balances.c.balance_fen + moved.c.delta)
        .returning(ledger_balances.c.agent, ledger_balances.c.account)
    )


_add_to_balances = OverRows({"agent": Text(), "account": Text(), "delta": BigInteger()}, _adding)
_lock_funds = (
    update(ledger_balances)
    .where(one_of(ledger_balances.c.agent), ledger_balances.c.account == Account.PROCUREMENT.value)
    .values(balance_fen=ledger_balances.c.balance_fen)
    .returning(ledger_balances.c.agent, ledger_balances.c.balance_fen)
)
_balances = select(ledger_balances.c.account, ledger_balances.c.balance_fen).where(
    ledger_balances.c.agent == bindparam("g")
)
_in_flight = select(func.coalesce(func.sum(ledger_balances.c.balance_fen), 0)).where(
    ledger_balances.c.account == Account.IN_FLIGHT.value
)
_funds = select(ledger_balances.c.agent, ledger_balances.c.balance_fen).where(
    one_of(ledger_balances.c.agent), ledger_balances.c.account == Account.PROCUREMENT.value
)

_waiting = (
    select(
        purchases.c.agent,
        func.count().label("n"),
        func.sum(func.coalesce(purchases.c.stated_fen, orders.c.fare_fen)).label("fen"),
    )
    .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
    .where(text("purchases.intent_at IS NULL AND purchases.concluded_at IS NULL"))  # as its index has it
    .group_by(purchases.c.agent)
)


class Overdrawn(DaifuError):
    """Guarded accounts do not hold what postings take from them: `short`. Nothing of the postings may stay: roll back."""

    def __init__(self, short: Sequence[tuple[str, Account]]) -> None:
        super().__init__(", ".join(f"{agent}: {account} does not hold enough" for agent, account in short))
        self.short = tuple(short)


def apply(tx: Transaction, postings: Sequence[Posting]) -> set[str]:
    """Store postings whose key is new and move the balances by one summed delta per account. Returns the new keys.

    Raises Overdrawn; the caller rolls back (a savepoint, or all of it).
    """
    fresh = _insert(tx, postings)
    _move(tx, _deltas_of(fresh))
    return {posting.key for posting in fresh}


def apply_late(tx: Transaction, postings: Sequence[Posting]) -> None:
    """The same, but the balances move right before the commit: an agent's balances are what most transactions meet in. For who
    neither looks at them afterwards nor goes on where they don't suffice: Overdrawn, a defect here, comes at the commit."""
    if deltas := _deltas_of(_insert(tx, postings)):
        tx.late(_move_late, deltas)


def _move_late(tx: Transaction, given: Sequence[dict[tuple[str, Account], int]]) -> None:
    whole: dict[tuple[str, Account], int] = defaultdict(int)
    for deltas in given:
        for key, delta in deltas.items():
            whole[key] += delta
    _move(tx, {key: delta for key, delta in whole.items() if delta})


def _insert(tx: Transaction, postings: Sequence[Posting]) -> list[Posting]:
    """Store postings and their entries; those whose key is new."""
    by_key = {posting.key: posting for posting in postings}  # two copies in one batch are one
    rows = [
        {
            "key": p.key,
            "kind": p.kind,
            "agent": p.agent,
            "order_no": p.order_no,
            "attempt_id": p.attempt_id,
            "note": p.note,
        }
        for p in by_key.values()
    ]
    new = {row.key: row.at for row in insert_returning(tx, ledger_postings, rows, ("key", "at"), stamps=("at",))}
    fresh = [p for p in by_key.values() if p.key in new]
    entries = [
        {"posting_key": p.key, "agent": p.agent, "account": account, "amount_fen": fen, "at": new[p.key]}
        for p in fresh
        for account, fen in p.legs
    ]
    insert_rows(tx, ledger_entries, entries)
    return fresh


def _deltas_of(postings: Sequence[Posting]) -> dict[tuple[str, Account], int]:
    """What each guarded account gains or gives."""
    deltas: dict[tuple[str, Account], int] = defaultdict(int)
    for posting in postings:
        for account, fen in posting.legs:
            if account in GUARDED:
                deltas[posting.agent, account] += fen
    return {key: delta for key, delta in deltas.items() if delta}


def _move(tx: Transaction, deltas: dict[tuple[str, Account], int]) -> None:
    """Raises Overdrawn."""
    if not deltas:
        return
    left = _add(tx, deltas)
    opened = [
        {"agent": agent, "account": account.value, "balance_fen": delta}
        for (agent, account), delta in left.items()
        if delta > 0
    ]
    for row in insert_returning(tx, ledger_balances, opened, ("agent", "account")):
        del left[row.agent, Account(row.account)]
    left = _add(tx, left)  # one that another transaction has opened meanwhile
    if left:
        raise Overdrawn(sorted(left))


def _add(tx: Transaction, deltas: dict[tuple[str, Account], int]) -> dict[tuple[str, Account], int]:
    """Move balances that can be moved; the deltas of those that can't."""
    rows = [(agent, account.value, delta) for (agent, account), delta in sorted(deltas.items())]
    moved = {(row.agent, Account(row.account)) for row in _add_to_balances.run(tx, rows)}
    return {key: delta for key, delta in deltas.items() if key not in moved}


def funds(tx: Transaction, agents: Iterable[str]) -> dict[str, int]:
    """The procurement funds of these agents, fen; missing where nothing was ever topped up."""
    return {row.agent: int(row.balance_fen) for row in tx.rows(_funds, {"keys": list(agents)})}


def lock_funds(tx: Transaction, agents: Iterable[str]) -> dict[str, int]:
    """The same, and whoever else moves these funds waits for us."""
    return {row.agent: int(row.balance_fen) for row in tx.rows(_lock_funds, {"keys": list(agents)})}


def balances(tx: Transaction, agent: str) -> dict[Account, int]:
    """All guarded balances of an agent, 0 where nothing was ever posted."""
    stored = {row.account: row.balance_fen for row in tx.rows(_balances, {"g": agent})}
    return {account: int(stored.get(account.value, 0)) for account in Account if account in GUARDED}


def waiting(tx: Transaction) -> dict[str, tuple[int, int]]:
    """Purchases that have no intent yet, by agent: how many, and the sum of the stated prices, else of the fares."""
    return {row.agent: (int(row.n), int(row.fen)) for row in tx.rows(_waiting)}


def missing_fen(tx: Transaction) -> int:
    """What all procurement funds together lack for the purchases that wait for them."""
    needs = waiting(tx)
    held = funds(tx, needs)
    return sum(max(0, fen - held.get(agent, 0)) for agent, (_several, fen) in needs.items())


def in_flight_fen(tx: Transaction) -> int:
    """The money whose fate is open, over all agents."""
    return int(tx.run(_in_flight).scalar_one())
