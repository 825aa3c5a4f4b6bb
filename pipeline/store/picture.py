"""The whole database as plain rows, in an order that depends on nothing but what happened: what a simulation looks at.

Left out is what two runs of the same seed may differ in: sealed bytes, keys drawn at random, and who runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Table, bindparam, select

from pipeline.states import LIVE
from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import (
    attempts,
    callback_calls,
    callbacks,
    dead_letters,
    history,
    ledger_entries,
    ledger_postings,
    orders,
    purchases,
    railway_refunds,
    requests,
    results,
    tasks,
    work,
)
from pipeline.store.work import Step
from pipeline.task_kinds import TaskKind

# Table, what its rows are ordered by, what of a row is left out.
_PARTS: Final[tuple[tuple[Table, tuple[Column[Any], ...], frozenset[str]], ...]] = (
    (orders, (orders.c.order_no,), frozenset({"details"})),
    (purchases, (purchases.c.order_no, purchases.c.generation), frozenset({"password_sealed"})),
    (attempts, (attempts.c.purchase_id, attempts.c.n), frozenset()),
    (work, (work.c.key,), frozenset()),
    (history, (history.c.id,), frozenset({"id"})),
    (callbacks, (callbacks.c.id,), frozenset({"id"})),
    (callback_calls, (callback_calls.c.id,), frozenset({"id", "callback_id"})),
    (results, (results.c.order_no, results.c.seq), frozenset()),
    (dead_letters, (dead_letters.c.id,), frozenset({"id", "body_sealed"})),
    (tasks, (tasks.c.opened_at, tasks.c.uid), frozenset({"id"})),
    (requests, (requests.c.source, requests.c.id), frozenset({"payload", "digest"})),
    (railway_refunds, (railway_refunds.c.order_no, railway_refunds.c.refund_id), frozenset()),
)
_entries = (
    select(ledger_postings.c.kind, ledger_postings.c.order_no, ledger_entries.c.account, ledger_entries.c.amount_fen)
    .select_from(ledger_postings.join(ledger_entries, ledger_entries.c.posting_key == ledger_postings.c.key))
    .order_by(ledger_postings.c.id, ledger_entries.c.account, ledger_entries.c.amount_fen)
)
_of_hold = (
    select(
        attempts.c.id,
        attempts.c.order_no,
        attempts.c.generation,
        attempts.c.trade_no,
        attempts.c.amount_fen,
        attempts.c.submitted_at,
        attempts.c.concluded_at,
        attempts.c.proof,
        attempts.c.login,
        purchases.c.state,
        purchases.c.agent,
        purchases.c.stop_at,
        orders.c.closure,
    )
    .select_from(
        attempts.join(purchases, purchases.c.id == attempts.c.purchase_id).join(
            orders, orders.c.order_no == attempts.c.order_no
        )
    )
    .where(attempts.c.held_order_no == bindparam("hold"))
    .order_by(attempts.c.opened_at, attempts.c.id)
)
_latest = (
    select(
        orders.c.order_no,
        orders.c.agent,
        orders.c.closure,
        orders.c.generation,
        orders.c.frozen_fen,
        orders.c.fare_fen,
        purchases.c.state,
        purchases.c.reason,
        purchases.c.login,
        purchases.c.held_order_no,
        purchases.c.password_sealed,
        purchases.c.intent_at,
    )
    .select_from(
        orders.outerjoin(
            purchases,
            (purchases.c.order_no == orders.c.order_no) & (purchases.c.generation == orders.c.generation),
        )
    )
    .order_by(orders.c.order_no)
)
_steps_left = (
    select(work.c.key, work.c.step, work.c.order_no).where(work.c.step != Step.DEPARTURE.value).order_by(work.c.key)
)
_words = select(callbacks.c.order_no, callbacks.c.state).order_by(callbacks.c.id)
_answers = select(requests.c.id, requests.c.answer).order_by(requests.c.id)


def everything(tx: Transaction) -> dict[str, list[list[Any]]]:
    """Every table that tells what happened, as lists of JSON values."""
    shown: dict[str, list[list[Any]]] = {}
    for table, order, left_out in _PARTS:
        columns = [column for column in table.columns if column.name not in left_out]
        rows = tx.rows(select(*columns).order_by(*order))
        shown[table.name] = [[_plain(value) for value in row] for row in rows]
    shown["ledger"] = [[_plain(value) for value in row] for row in tx.rows(_entries)]
    return shown


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def attempts_of_hold(tx: Transaction, hold_no: str) -> list[Row[Any]]:
    """All attempts at a hold, with their purchase's state and their order's closure; oldest first."""
    return tx.rows(_of_hold, {"hold": hold_no})


def latest_purchases(tx: Transaction) -> list[Row[Any]]:
    """Every order with its latest purchase (whose columns are None where it has none), by order number."""
    return tx.rows(_latest)


def live_orders(tx: Transaction) -> list[str]:
    """Orders whose latest purchase is under way, by order number."""
    return [row.order_no for row in latest_purchases(tx) if row.state in LIVE]


def answers(tx: Transaction) -> dict[str, str]:
    """How each message of AM's was answered, by its id."""
    return {row.id: row.answer for row in tx.rows(_answers)}


@dataclass(frozen=True, slots=True)
class Rest:
    """What somebody still has to do. `steps` are keys of work rows other than those that wait for a departure; what an agent
    could not be told in the end is a dead letter."""

    steps: Sequence[str]
    letters: Sequence[Row[Any]]
    tasks: Sequence[Row[Any]]
    untold: Sequence[str]
    unsent: Sequence[str]
    given_up: Sequence[str]  # orders whose latest word to the agent was tried in vain; nobody must do anything

    @property
    def none(self) -> bool:
        return not (self.steps or self.letters or self.tasks or self.untold or self.unsent)


def rest(tx: Transaction) -> Rest:
    """What is left to do."""
    letters = tx.rows(select(dead_letters).where(dead_letters.c.state == "open").order_by(dead_letters.c.id))
    of_people = tasks.c.kind != TaskKind.IN_DOUBT.value  # that one closes with what it waits for
    open_tasks = tx.rows(select(tasks).where(tasks.c.closed_at.is_(None), of_people).order_by(tasks.c.id))
    untold = tx.rows(select(callbacks.c.webhook_id).where(callbacks.c.state == "pending"))
    unsent = tx.rows(select(results.c.row_key).where(results.c.sent_at.is_(None)))
    last_word = {row.order_no: row.state for row in tx.rows(_words)}
    return Rest(
        [row.key for row in tx.rows(_steps_left)],
        letters,
        open_tasks,
        sorted(row.webhook_id for row in untold),
        sorted(row.row_key for row in unsent),
        sorted(order_no for order_no, state in last_word.items() if state == "exhausted"),
    )
