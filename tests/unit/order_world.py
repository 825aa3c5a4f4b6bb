"""One order of one agent in a SQLite file: messages about it are accepted, its purchase is brought from state to state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, text

from pipeline import endings
from pipeline.acceptance import Answer, Limits, accept
from pipeline.ledger import Account, top_up
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, dead_letters, ledger, orders, tables, tasks, work
from pipeline.store.attempts import Intent
from pipeline.store.engine import Store, Transaction
from pipeline.store.tables import agents
from pipeline.store.work import Step
from schemas.am_messages import parse
from tests.contract.store_subjects import AGENT, FAR, LEASE_S, LOGIN, WORKER, HandClock, opened, worker
from tests.unit.message_samples import DATA, NEED_PAY, ORDER_NO, body

HOLD, FEN, FARE = "E646076788", 124_100, 128_400
LIMITS = Limits(submit_within_s=1200.0, order_wait_s=300.0)
S = PurchaseState


@dataclass(slots=True)
class World:
    store: Store
    said: int = 0

    @property
    def clock(self) -> HandClock:
        clock = self.store.clock
        assert isinstance(clock, HandClock)
        return clock

    def hear(self, kind: str, *, message_id: str | None = None, at: datetime | None = None, **changes: Any) -> Answer:
        """Accept the sample message of that type, with these fields of its data changed, under a fresh id."""
        self.said += 1
        moment = (at or self.clock.now()).isoformat()
        order_no = changes.get("order_no", ORDER_NO)
        data = {name: value for name, value in (DATA[kind] | changes).items() if value is not ...}
        raw = body(kind, data, id=message_id or f"m{self.said}", time=moment, subject=order_no)
        return self.store.write(lambda tx: accept(tx, parse(raw), LIMITS, origin="queue")).value

    def order(self) -> Row[Any]:
        return self.store.read(lambda tx: orders.load(tx, [ORDER_NO]))[ORDER_NO]

    def purchase(self, generation: int = 1) -> Row[Any]:
        key = f"{ORDER_NO}:{generation}"
        return self.store.read(lambda tx: whole_purchase(tx, key))

    def balances(self) -> dict[str, int]:
        found = self.store.read(lambda tx: ledger.balances(tx, AGENT))
        return {account.value: fen for account, fen in found.items() if fen and account is not Account.PROCUREMENT}

    def rows(self, table: str, columns: str = "*", where: str = "1") -> list[tuple[Any, ...]]:
        query = text(f"SELECT {columns} FROM {table} WHERE {where} ORDER BY rowid")  # noqa: S608 - a test's own text
        return self.store.read(lambda tx: [tuple(row) for row in tx.rows(query)])

    def work(self) -> list[tuple[Any, ...]]:
        return sorted((generation, step) for generation, step in self.rows("work", "generation, step"))

    def results(self) -> list[tuple[str, str, int]]:
        """(CloudEvents id, type, seq) of what AM is told, in order."""
        found = []
        for (raw,) in self.rows("results", "body"):
            event = json.loads(raw)
            found.append((event["id"], event["type"], event["data"]["seq"]))
        return found

    def callbacks(self) -> list[tuple[Any, ...]]:
        return self.rows("callbacks", "generation, pay_status, state")

    def dead_letters(self) -> list[tuple[Any, ...]]:
        return self.rows("dead_letters", "generation, stage, reason, state")

    def tasks(self) -> list[str]:
        return [row.kind for row in self.store.read(lambda tx: tasks.find(tx))]

    def to(self, state: PurchaseState, generation: int = 1) -> None:
        """Bring the accepted purchase to that state, by the functions that the stages use."""
        path = {
            S.ACCEPTED: [],
            S.READY: [S.READY],
            S.PAYING: [S.READY, S.PAYING],
            S.HELD_UNPAID: [S.HELD_UNPAID],
            S.IN_DOUBT: [S.READY, S.PAYING, S.IN_DOUBT],
            S.PURCHASED: [S.READY, S.PAYING, S.IN_DOUBT, S.PURCHASED],
            S.SETTLED: [S.READY, S.PAYING, S.IN_DOUBT, S.PURCHASED, S.SETTLED],
            S.PAID_ABNORMAL: [S.READY, S.PAYING, S.IN_DOUBT, S.PAID_ABNORMAL],
            S.NEVER_DEBITED: [S.READY, S.PAYING, S.IN_DOUBT, S.PAID_ABNORMAL, S.NEVER_DEBITED],
            S.REFUNDED: [S.READY, S.PAYING, S.IN_DOUBT, S.PAID_ABNORMAL, S.REFUNDED],
        }[state]
        for step in path:
            self._step(generation, step)

    def _step(self, generation: int, state: PurchaseState) -> None:
        key = f"{ORDER_NO}:{generation}"
        if state is S.HELD_UNPAID:
            self.end_before_intent(generation)
        elif state is S.READY:
            self._found(generation)
        elif state is S.PAYING:
            self._open(generation)
        elif state is S.IN_DOUBT:
            assert self.submit(generation) is None
            self._move(key, S.PAYING, S.IN_DOUBT)
        elif state is S.PURCHASED:
            self.conclude_paid(generation)
        elif state is S.PAID_ABNORMAL:
            self.conclude_abnormal(generation)
        else:
            was = S.PURCHASED if state is S.SETTLED else S.PAID_ABNORMAL
            self._move(key, was, state)

    def _move(self, key: str, was: PurchaseState, becomes: PurchaseState) -> None:
        assert self.store.write(lambda tx: orders.move(tx, key, was, becomes)).value

    def _found(self, generation: int) -> None:
        """The password was found: the credentials row becomes a pay row."""
        self._move(f"{ORDER_NO}:{generation}", S.ACCEPTED, S.READY)

        def next_row(tx: Transaction) -> None:
            work.remove(tx, [work.work_key(ORDER_NO, generation, Step.CREDENTIALS)])
            work.add(tx, ORDER_NO, generation, Step.PAY, urgency=datetime.now(UTC))

        self.store.write(next_row)

    def _open(self, generation: int) -> None:
        key = f"{ORDER_NO}:{generation}"
        self._move(key, S.READY, S.PAYING)
        self.store.write(lambda tx: attempts.open_attempt(tx, key, ORDER_NO, generation, LOGIN, 1))

    def submit(self, generation: int = 1) -> attempts.Refusal | None:
        """Record the intent of the open attempt, and turn the pay row into a question row."""
        key, moment = f"{ORDER_NO}:{generation}", datetime.now(UTC)
        intent = Intent(
            attempt_id=f"{key}:1",
            fence=1,
            purchase_id=key,
            order_no=ORDER_NO,
            generation=generation,
            agent=AGENT,
            login=LOGIN,
            held_order_no=HOLD,
            trade_no=f"T{generation}",
            amount_fen=FEN,
            form_deadline=moment + FAR,
            final_after=moment + 2 * FAR,
            urgency=moment + FAR,
        )

        def record(tx: Transaction) -> attempts.Refusal | None:
            refusal = attempts.record_intent(tx, intent)
            if refusal is None:
                work.remove(tx, [work.work_key(ORDER_NO, generation, Step.PAY)])
                work.add(tx, ORDER_NO, generation, Step.ASK, urgency=moment, lease=(WORKER, LEASE_S))
            return refusal

        return self.store.write(record).value

    def attempt(self, generation: int = 1) -> Row[Any]:
        key = f"{ORDER_NO}:{generation}"
        found = select(tables.attempts).where(
            tables.attempts.c.purchase_id == key, tables.attempts.c.submitted_at.is_not(None)
        )
        return self.store.read(lambda tx: tx.rows(found)[0])

    def end_before_intent(self, generation: int = 1, reason: Reason = Reason.HOLD_EXPIRED) -> bool:
        found = self.purchase(generation)
        return self.store.write(
            lambda tx: endings.end_before_intent(tx, found, reason, "", stage="payment", actor="test")
        ).value

    def conclude_unpaid(self, generation: int = 1) -> bool:
        found, attempt = self.purchase(generation), self.attempt(generation)
        reason = Reason.UNPAID_AFTER_DEADLINE
        return self.store.write(
            lambda tx: endings.conclude_unpaid(tx, found, attempt, "no_payment", reason, "", actor="test")
        ).value

    def conclude_paid(self, generation: int = 1) -> bool:
        found, attempt = self.purchase(generation), self.attempt(generation)
        return self.store.write(lambda tx: endings.conclude_paid(tx, found, attempt, FEN, actor="test")).value

    def conclude_abnormal(self, generation: int = 1, reason: Reason = Reason.NOT_ISSUED) -> bool:
        found, attempt = self.purchase(generation), self.attempt(generation)
        return self.store.write(
            lambda tx: endings.conclude_abnormal(tx, found, attempt, reason, "", actor="test", debited_fen=FEN)
        ).value

    def open_dead_letters(self) -> int:
        return len(self.store.read(lambda tx: dead_letters.open_of(tx, ORDER_NO)))


@contextmanager
def order_world(directory: Path) -> Iterator[World]:
    """An agent with a full procurement fund; nothing was said yet."""
    with opened(f"sqlite:///{directory / 'store.sqlite3'}") as store:

        def prepare(tx: Transaction) -> None:
            worker(tx)
            row = {
                "code": AGENT,
                "callback_url": "https://agent.example/callback",
                "merchant_key_sealed": "sealed",
                "webhook_secret_sealed": "sealed",
                "created_at": store.clock.now(),
            }
            tx.run(insert(agents).values(**row))
            ledger.apply(tx, [top_up(AGENT, "t1", 1_000_000, "充值")])

        store.write(prepare)
        yield World(store)


__all__ = ["FARE", "FEN", "HOLD", "LIMITS", "NEED_PAY", "ORDER_NO", "World", "order_world"]


def whole_purchase(tx: Transaction, purchase_id: str) -> Row[Any]:
    """All of its row, and its order's fare, frozen rest and closure."""
    found = select(tables.purchases, tables.orders.c.fare_fen, tables.orders.c.frozen_fen, tables.orders.c.closure)
    joined = found.join_from(tables.purchases, tables.orders, tables.orders.c.order_no == tables.purchases.c.order_no)
    return tx.rows(joined.where(tables.purchases.c.id == purchase_id))[0]
