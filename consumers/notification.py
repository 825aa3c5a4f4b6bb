"""Agent notification: POST payStatus until the agent's answer has `ret` true (DESIGN section 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pipeline.callback_form import CALL_TIMEOUT_S, body_at_turn, webhook_headers
from pipeline.ports import AgentCaller, CallbackAnswer, Clock, Randomness
from pipeline.reasons import PAY_STATUS, Outcome, Reason
from pipeline.retry import again_after, callback_after
from pipeline.secret import Secret
from pipeline.stage import CRASH_LOOP_DEATHS, MAX_UNEXPECTED
from pipeline.states import PurchaseState
from pipeline.store import agent_keys, callbacks, dead_letters, history, orders, suspects, work
from pipeline.store.agent_keys import SealedKey
from pipeline.store.callbacks import CallMade, Telling
from pipeline.store.clock import now, stamp
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.work import Later, Step, WorkRow
from pipeline.vault import KeyRing

ACTOR = "system:notification"
FIRST_AGAIN_S = 5.0
KEYS_KEPT = 2_000  # of agents, two each


@dataclass(slots=True)
class Call:
    """One callback to make: the stored bytes, where to, and the keys that its Standard Webhooks signatures take."""

    row: WorkRow
    callback_id: int
    webhook_id: str
    pay_status: str
    generation: int
    agent: str
    calls_before: int
    url: str
    body: bytes
    webhook_secrets: tuple[Secret, ...]
    withdrawable: bool = False  # once posted it can't be taken back; its end is short

    @property
    def key(self) -> str:
        return self.row.key


@dataclass(frozen=True, slots=True)
class Called:
    item: Call
    answer: CallbackAnswer


@dataclass(frozen=True, slots=True)
class _Failed:
    """A callback that is given up after so many calls."""

    row: WorkRow
    callback_id: int
    generation: int
    calls: int
    detail: str


def _line(item: Call, answer: CallbackAnswer) -> Line:
    detail = {"generation": item.generation, "pay_status": item.pay_status, "status": answer.status}
    return Line(item.row.order_no, "agent_told" if answer.delivered else "agent_not_told", ACTOR, detail)


def _result_of(answer: CallbackAnswer) -> str:
    """One of few words, for the metrics."""
    if answer.delivered:
        return "delivered"
    if answer.status is None:
        return "unreachable"
    if answer.gone:
        return "gone"
    return "refused" if 200 <= answer.status < 300 else "http_error"


class Notification:
    """Tells each agent the latest outcome of its order; one call per order at a time."""

    name = "notification"

    def __init__(
        self,
        caller: AgentCaller,
        service_keys: KeyRing,
        clock: Clock,
        randomness: Randomness,
        worker: str,
        schedule_s: Sequence[float],
        lease_s: float,
        observe: Callable[[str, str], None],
    ) -> None:
        """`observe` is told of every call: the agent, and what came of it."""
        self._observe = observe
        self._caller = caller
        # To open a box costs as much as a whole callback does; a key that is changed is another box.
        self._open = lru_cache(maxsize=KEYS_KEPT)(service_keys.open)
        self._clock, self._randomness = clock, randomness
        self._worker, self._schedule_s = worker, schedule_s
        self._lease_s = max(lease_s, 2 * CALL_TIMEOUT_S)

    def ready(self) -> bool:
        return True

    def prepare(self, tx: Transaction, keys: Sequence[str]) -> list[Call]:
        rows = suspects.on_trial(tx, work.claim(tx, keys, self._worker, self._lease_s), self._worker)
        pending = self._pending(tx, rows)
        work.finish_all(tx, [row for row in rows if row.order_no not in pending])
        found = [(row, pending[row.order_no]) for row in rows if row.order_no in pending]
        doomed = [(row, each) for row, each in found if row.deaths >= CRASH_LOOP_DEATHS]
        letters = [
            _Failed(row, each.id, each.generation, each.calls, f"{row.deaths} 次处理时进程崩溃") for row, each in doomed
        ]
        self._give_up(tx, letters, Reason.CRASH_LOOP)
        return self._calls_of(tx, [(row, each) for row, each in found if row.deaths < CRASH_LOOP_DEATHS])

    def _pending(self, tx: Transaction, rows: Sequence[WorkRow]) -> dict[str, Row[Any]]:
        """What is to be told of each order. Still in doubt at `stop_at`: the agent is told 3, so that it does not take the order
        back (DESIGN section 5.5)."""
        order_nos = [row.order_no for row in rows]
        pending = callbacks.pending(tx, order_nos) if rows else {}
        silent = [order_no for order_no in order_nos if order_no not in pending]
        if not silent:
            return pending
        in_doubt = (PurchaseState.PAYING.value, PurchaseState.IN_DOUBT.value)
        status = PAY_STATUS[Outcome.PAID_ABNORMAL]
        provisional = [
            Telling(order.order_no, order.generation, order.agent, status)
            for order in orders.load(tx, silent).values()
            if order.state in in_doubt and order.intent
        ]
        callbacks.prepare_all(tx, provisional)
        told = [telling.order_no for telling in provisional]
        return pending | (callbacks.pending(tx, told) if told else {})

    def _calls_of(self, tx: Transaction, found: Sequence[tuple[WorkRow, Row[Any]]]) -> list[Call]:
        if not found:
            return []
        codes = {pending.agent for _row, pending in found}
        callees = agent_keys.callees(tx, codes)
        merchant_keys = {code: self._opened(callee.merchant) for code, callee in callees.items()}
        webhook_secrets = {code: self._opened(callee.webhook) for code, callee in callees.items()}
        calls, fresh = [], []
        for row, pending in found:
            keys, stored = merchant_keys[pending.agent], pending.body
            body = body_at_turn(stored, pending.calls, row.order_no, pending.agent, pending.pay_status, keys)
            if stored is None:
                fresh.append((pending.id, body))
            calls.append(
                Call(
                    row=row,
                    callback_id=pending.id,
                    webhook_id=pending.webhook_id,
                    pay_status=pending.pay_status,
                    generation=pending.generation,
                    agent=pending.agent,
                    calls_before=pending.calls,
                    url=callees[pending.agent].url,
                    body=body.encode(),
                    webhook_secrets=webhook_secrets[pending.agent],
                )
            )
        callbacks.set_bodies(tx, fresh)
        return calls

    def _opened(self, keys: Sequence[SealedKey]) -> tuple[Secret, ...]:
        return tuple(self._open(each.sealed) for each in keys)

    async def call(self, item: Call) -> Called:
        timestamp = int(self._clock.now().timestamp())
        headers = webhook_headers(item.webhook_id, timestamp, item.body, item.webhook_secrets)
        answer = await self._caller.post(item.url, item.body, headers)
        self._observe(item.agent, _result_of(answer))
        return Called(item, answer)

    def conclude(self, tx: Transaction, results: Sequence[Called]) -> None:
        if not results:
            return
        answers = [(result.item, result.answer) for result in results]
        callbacks.record_calls(
            tx, [CallMade(item.callback_id, answer.status, answer.answer, answer.delivered) for item, answer in answers]
        )
        history.tell_all(tx, [_line(item, answer) for item, answer in answers])
        pending = callbacks.pending(tx, [item.row.order_no for item, _answer in answers])
        later, failed, over = [], [], []
        for item, answer in answers:
            delay_s = None if answer.delivered else self._delay_s(item, answer)
            if not answer.delivered and delay_s is None:
                made = item.calls_before + 1
                failed.append(_Failed(item.row, item.callback_id, item.generation, made, answer.answer[:200]))
            elif item.row.order_no not in pending:
                over.append(item.row)  # told, or cancelled meanwhile; whoever brought the row forward since keeps it
            elif delay_s is None:
                later.append(Later(item.row, stamp(tx), None, counts=False))  # a later outcome is still to be told
            else:
                later.append(Later(item.row, stamp(tx) + timedelta(seconds=delay_s), answer.answer[:200]))
        self._give_up(tx, failed, Reason.CALLBACK_EXHAUSTED)
        gone = work.finish_all(tx, over)
        work.again_all(tx, later)
        self._correct(tx, [item for item, answer in answers if answer.delivered], {row.key for row in over} - gone)

    def _correct(self, tx: Transaction, taken: Sequence[Call], lost: set[str]) -> None:
        """The agent took a word from a worker that had lost its row meanwhile, by standing still before the call: if a later
        one was taken in between, that is told once more, for the agent's last word must be the latest."""
        for item in taken:
            if item.row.key not in lost:
                continue
            latest = max(callbacks.of_orders(tx, [item.row.order_no]), key=callbacks.place)
            if latest.id != item.callback_id and latest.state == "delivered":
                callbacks.revive(tx, latest.id)
                work.bring_forward(tx, item.row.order_no, Step.TELL)

    def _delay_s(self, item: Call, answer: CallbackAnswer) -> float | None:
        """Until the next call; None: this was the last."""
        delay_s = None if answer.gone else callback_after(item.calls_before + 1, self._schedule_s, self._randomness)
        return None if delay_s is None else max(delay_s, min(answer.retry_after_s or 0.0, 2 * delay_s))

    def _give_up(self, tx: Transaction, failed: Sequence[_Failed], reason: Reason) -> None:
        if not failed:
            return
        # Under the fence: another worker that has taken a row over goes on with its callback, and so does whoever brought the
        # row forward for something newer, or to tell the same again.
        gone = work.finish_all(tx, [each.row for each in failed])
        ours = [each for each in failed if each.row.key in gone]
        callbacks.exhaust(tx, [each.callback_id for each in ours])
        known = orders.load(tx, [each.row.order_no for each in ours])
        letters = []
        for each in ours:
            order = known[each.row.order_no]
            letters.append(
                DeadLetterFacts(
                    self.name,
                    order.order_no,
                    each.generation,
                    order.agent,
                    reason,
                    each.detail,
                    each.calls,
                    order.fare_fen,
                    None,
                )
            )
        dead_letters.add_all(tx, letters)
        detail = {"stage": self.name, "reason": reason}
        history.tell_all(tx, [Line(each.row.order_no, "dead_letter", ACTOR, detail) for each in ours])

    def failed(self, tx: Transaction, item: Call, error: str) -> None:
        if item.row.tries + 1 >= MAX_UNEXPECTED:
            failed = _Failed(item.row, item.callback_id, item.generation, item.calls_before + 1, error)
            self._give_up(tx, [failed], Reason.UNEXPECTED_ERROR)
            return
        delay_s = again_after(item.row.tries + 1, FIRST_AGAIN_S, self._randomness)
        work.again(tx, item.row, now(tx) + timedelta(seconds=delay_s), error)
