"""Agent notification: POST payStatus until the agent's answer has `ret` true (DESIGN section 10)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from pipeline.ports import AgentCaller, CallbackAnswer, Clock, Randomness
from pipeline.reasons import PAY_STATUS, Outcome, Reason
from pipeline.retry import again_after, callback_after
from pipeline.secret import Secret
from pipeline.stage import CRASH_LOOP_DEATHS, MAX_UNEXPECTED
from pipeline.states import PurchaseState
from pipeline.store import accounts, callbacks, dead_letters, history, orders, suspects, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import WorkRow
from pipeline.vault import KeyRing

ACTOR = "system:notification"
CALL_TIMEOUT_S = 15.0  # Standard Webhooks: 15 to 30 s
CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
FIRST_AGAIN_S = 5.0


@dataclass(slots=True)
class Call:
    """One callback to make: the stored bytes, where to, and the key its Standard Webhooks signature takes."""

    row: WorkRow
    callback_id: int
    webhook_id: str
    pay_status: str
    generation: int
    agent: str
    calls_before: int
    url: str
    body: bytes
    webhook_secret: Secret
    withdrawable: bool = False  # once posted it can't be taken back; its end is short

    @property
    def key(self) -> str:
        return self.row.key


@dataclass(frozen=True, slots=True)
class Called:
    item: Call
    answer: CallbackAnswer


def signed_body(order_no: str, agent: str, pay_status: str, merchant_key: Secret) -> str:
    """The form that the clients read: upper-case MD5 over key + merchantCode + orderNo + payStatus (wire-protocols A.2)."""
    text = f"{merchant_key.reveal()}{agent}{order_no}{pay_status}".encode()
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest().upper()
    return urlencode({"orderNo": order_no, "payStatus": pay_status, "HMAC": digest})


def webhook_headers(webhook_id: str, timestamp: int, body: bytes, secret: Secret) -> dict[str, str]:
    """Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` under the base64 part of `whsec_…`."""
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


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
    ) -> None:
        self._caller, self._keys = caller, service_keys
        self._clock, self._randomness = clock, randomness
        self._worker, self._schedule_s = worker, schedule_s
        self._lease_s = max(lease_s, 2 * CALL_TIMEOUT_S)

    def ready(self) -> bool:
        return True

    def prepare(self, tx: Transaction, keys: Sequence[str]) -> list[Call]:
        items = []
        for row in suspects.on_trial(tx, work.claim(tx, keys, self._worker, self._lease_s), self._worker):
            pending = callbacks.latest_pending(tx, row.order_no) or self._provisional(tx, row)
            if pending is None:
                work.finish(tx, row)
            elif row.deaths >= CRASH_LOOP_DEATHS:
                self._give_up(tx, row, pending, Reason.CRASH_LOOP, f"{row.deaths} 次处理时进程崩溃")
            else:
                items.append(self._call_of(tx, row, pending))
        return items

    def _provisional(self, tx: Transaction, row: WorkRow) -> Row[Any] | None:
        """Still in doubt at `stop_at`: the agent is told 3, so that it does not take the order back (DESIGN section 5.5)."""
        order = orders.load(tx, [row.order_no]).get(row.order_no)
        in_doubt = (PurchaseState.PAYING.value, PurchaseState.IN_DOUBT.value)
        if order is None or order.state not in in_doubt or not order.intent:
            return None
        status = PAY_STATUS[Outcome.PAID_ABNORMAL]
        callbacks.prepare(tx, row.order_no, order.generation, order.agent, status)
        return callbacks.latest_pending(tx, row.order_no)

    def _call_of(self, tx: Transaction, row: WorkRow, pending: Row[Any]) -> Call:
        agent = accounts.load_agents(tx, [pending.agent])[pending.agent]
        body = pending.body
        if body is None:
            body = signed_body(
                row.order_no, pending.agent, pending.pay_status, self._keys.open(agent.merchant_key_sealed)
            )
            callbacks.set_body(tx, pending.id, body)
        return Call(
            row=row,
            callback_id=pending.id,
            webhook_id=pending.webhook_id,
            pay_status=pending.pay_status,
            generation=pending.generation,
            agent=pending.agent,
            calls_before=pending.calls,
            url=agent.callback_url,
            body=body.encode(),
            webhook_secret=self._keys.open(agent.webhook_secret_sealed),
        )

    async def call(self, item: Call) -> Called:
        timestamp = int(self._clock.now().timestamp())
        headers = webhook_headers(item.webhook_id, timestamp, item.body, item.webhook_secret)
        return Called(item, await self._caller.post(item.url, item.body, headers))

    def conclude(self, tx: Transaction, results: Sequence[Called]) -> None:
        for result in results:
            item, answer = result.item, result.answer
            callbacks.record_call(tx, item.callback_id, answer.status, answer.answer, delivered=answer.delivered)
            history.tell(
                tx,
                item.row.order_no,
                "agent_told" if answer.delivered else "agent_not_told",
                ACTOR,
                generation=item.generation,
                pay_status=item.pay_status,
                status=answer.status,
            )
            if answer.delivered and callbacks.latest_pending(tx, item.row.order_no) is None:
                work.finish(tx, item.row)
            elif answer.delivered:
                work.again(tx, item.row, now(tx), None, counts=False)  # a later outcome is still to be told
            else:
                self._later(tx, item, answer)

    def _later(self, tx: Transaction, item: Call, answer: CallbackAnswer) -> None:
        delay_s = None if answer.gone else callback_after(item.calls_before + 1, self._schedule_s, self._randomness)
        if delay_s is None:
            self._give_up(tx, item.row, item, Reason.CALLBACK_EXHAUSTED, answer.answer[:200])
            return
        delay_s = max(delay_s, min(answer.retry_after_s or 0.0, 2 * delay_s))
        due_at = now(tx) + timedelta(seconds=delay_s)
        if callbacks.latest_pending(tx, item.row.order_no) is None:
            work.finish(tx, item.row)  # cancelled meanwhile; whoever brought the row forward since keeps it
        else:
            work.again(tx, item.row, due_at, answer.answer[:200])

    def _give_up(self, tx: Transaction, row: WorkRow, pending: Any, reason: Reason, detail: str) -> None:
        callback_id = pending.callback_id if isinstance(pending, Call) else pending.id
        callbacks.exhaust(tx, callback_id)
        if not work.finish(tx, row):
            return  # something newer is to be told; that one has its own tries
        order = orders.load(tx, [row.order_no])[row.order_no]
        made = pending.calls_before + 1 if isinstance(pending, Call) else pending.calls
        facts = DeadLetterFacts(
            self.name, row.order_no, pending.generation, order.agent, reason, detail, made, order.fare_fen, None
        )
        dead_letters.add(tx, facts)
        history.tell(tx, row.order_no, "dead_letter", ACTOR, stage=self.name, reason=reason)

    def failed(self, tx: Transaction, item: Call, error: str) -> None:
        if item.row.tries + 1 >= MAX_UNEXPECTED:
            self._give_up(tx, item.row, item, Reason.UNEXPECTED_ERROR, error)
            return
        delay_s = again_after(item.row.tries + 1, FIRST_AGAIN_S, self._randomness)
        work.again(tx, item.row, now(tx) + timedelta(seconds=delay_s), error)
