"""An agent's money as people read it: balances now and at any past moment, 资金流水 with opening and closing balance, what is short.

A balance at a moment is the sum of the entries before it, which the index `ledger_entries_in_time` answers alone: no account,
the outside ones neither, needs a running balance for it. Amounts are fen, times Asia/Shanghai in RFC 3339.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, and_, bindparam, case, func, select, tuple_

from pipeline.ledger import GUARDED, Account
from pipeline.store import ledger
from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import agents, ledger_balances, ledger_entries, ledger_postings
from pipeline.store.types import Instant, one_of

E, P = ledger_entries.c, ledger_postings.c
SHORT: Final = "short"  # what waits to be paid is more than the fund holds: orders will fail
LOW: Final = "low"  # less than the setting is left once it is paid
FINE: Final = "fine"

_sum = func.coalesce(func.sum(E.amount_fen), 0)
_of_account = and_(E.agent == bindparam("agent"), E.account == bindparam("account"))
_balance_before = select(_sum).where(_of_account, E.at < bindparam("moment", type_=Instant()))
_place = tuple_(bindparam("moment", type_=Instant()), bindparam("id", type_=BigInteger()))
_balance_before_entry = select(_sum).where(_of_account, tuple_(E.at, E.id) < _place)
_moved = select(
    func.coalesce(func.sum(case((E.amount_fen > 0, E.amount_fen), else_=0)), 0).label("got"),
    func.coalesce(func.sum(case((E.amount_fen < 0, -E.amount_fen), else_=0)), 0).label("gave"),
    func.count(E.id).label("entries"),
).where(_of_account, E.at >= bindparam("since", type_=Instant()), E.at < bindparam("until", type_=Instant()))
_entries = select(E.id, E.at, E.amount_fen, E.posting_key).where(
    _of_account, E.at >= bindparam("since", type_=Instant()), E.at < bindparam("until", type_=Instant())
)
_postings = select(P.key, P.kind, P.order_no, P.note).where(one_of(P.key))
_legs = select(E.posting_key, E.account, E.amount_fen).where(one_of(E.posting_key)).order_by(E.id)
_trial = (
    select(E.agent, E.account, func.sum(E.amount_fen).label("fen"))
    .where(E.at < bindparam("moment", type_=Instant()))
    .group_by(E.agent, E.account)
    .order_by(E.agent, E.account)
)
_trial_of = _trial.where(E.agent == bindparam("agent"))
_balances = select(agents.c.code, ledger_balances.c.account, ledger_balances.c.balance_fen).select_from(
    agents.outerjoin(ledger_balances, ledger_balances.c.agent == agents.c.code)
)
_codes = select(agents.c.code).order_by(agents.c.code)


def funds_of_all(tx: Transaction, warn_fen: int, agent: str | None = None) -> list[Json]:
    """Every agent (or one): its balances, what waits to be paid from its fund, and whether the fund will do (`level`).

    `waiting_fen`: the stated prices, else the fares, of purchases without an intent. An agent that never topped up is never low.
    """
    waiting = ledger.waiting(tx)
    held: dict[str, dict[str, int]] = defaultdict(dict)
    query = _balances if agent is None else _balances.where(agents.c.code == agent)
    for row in tx.rows(query.order_by(agents.c.code)):
        held[row.code] |= {} if row.account is None else {row.account: int(row.balance_fen)}
    found = []
    for code, balances in held.items():
        several, waiting_fen = waiting.get(code, (0, 0))
        left_fen = balances.get(Account.PROCUREMENT, 0) - waiting_fen
        low = Account.PROCUREMENT in balances and left_fen < warn_fen
        found.append(
            {
                "agent": code,
                **{f"{account.value}_fen": balances.get(account, 0) for account in Account if account in GUARDED},
                "waiting": several,
                "waiting_fen": waiting_fen,
                "left_fen": left_fen,
                "level": SHORT if left_fen < 0 else LOW if low else FINE,
            }
        )
    return found


def agent_codes(tx: Transaction) -> list[str]:
    return [str(row.code) for row in tx.rows(_codes)]


def statement(
    tx: Transaction,
    agent: str,
    account: Account,
    since: datetime,
    until: datetime,
    cursor: str | None = None,
    limit: int = PAGE,
) -> Json:
    """资金流水 of one account from `since` to before `until`: opening and closing balance, and a page of entries in time order,
    each with the balance after it. Raises BadCursor."""
    which = {"agent": agent, "account": account.value}
    span = which | {"since": since, "until": until}
    rows, following = fetch(tx, _entries.params(span), [E.at, E.id], cursor, limit, descending=False)
    opening = int(tx.run(_balance_before, which | {"moment": since}).scalar_one())
    balance = opening
    if rows and cursor:
        balance = int(tx.run(_balance_before_entry, which | {"moment": rows[0].at, "id": rows[0].id}).scalar_one())
    moved = tx.run(_moved, span).one()
    return {
        "agent": agent,
        "account": account.value,
        "opening_fen": opening,
        "got_fen": int(moved.got),
        "gave_fen": int(moved.gave),
        "closing_fen": opening + int(moved.got) - int(moved.gave),
        "entries": int(moved.entries),
        "rows": _lines(tx, rows, account, balance),
        "next": following,
    }


def _lines(tx: Transaction, rows: list[Row[Any]], account: Account, balance: int) -> list[Json]:
    keys = {"keys": [row.posting_key for row in rows]}
    postings = {row.key: row for row in tx.rows(_postings, keys)}
    others: dict[str, list[str]] = defaultdict(list)
    for leg in tx.rows(_legs, keys):
        if leg.account != account.value:
            others[leg.posting_key].append(leg.account)
    lines = []
    for row in rows:
        balance += row.amount_fen
        posting = postings[row.posting_key]
        lines.append(
            {
                "at": shown(row.at),
                "kind": posting.kind,
                "order_no": posting.order_no,
                "others": others[row.posting_key],
                "amount_fen": row.amount_fen,
                "balance_fen": balance,
                "note": posting.note,
                "posting": row.posting_key,
            }
        )
    return lines


def trial_balance(tx: Transaction, moment: datetime, agent: str | None = None) -> Json:
    """试算平衡表: what every account held just before `moment`, per agent and in all. `sum_fen` is 0, or money was made or lost."""
    rows = (
        tx.rows(_trial, {"moment": moment}) if agent is None else tx.rows(_trial_of, {"moment": moment, "agent": agent})
    )
    of_agent: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        of_agent[row.agent][row.account] = int(row.fen)
    totals = {account.value: sum(held.get(account, 0) for held in of_agent.values()) for account in Account}
    return {
        "at": shown(moment),
        "agents": [_held(held, agent=code) for code, held in of_agent.items()],
        "total": _held(totals),
        "sum_fen": sum(totals.values()),
    }


def _held(held: dict[str, int], **more: str) -> Json:
    return more | {f"{account.value}_fen": held.get(account, 0) for account in Account}
