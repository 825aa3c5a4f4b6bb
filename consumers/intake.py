"""Intake: messages from AM become orders, requests and purchases; what can't be read becomes a dead letter naming why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import structlog

from pipeline import acceptance
from pipeline.acceptance import Conflict, Limits
from pipeline.ports import Clock
from pipeline.reasons import Reason
from pipeline.stage import Taken
from pipeline.store import inbox, work
from pipeline.store.engine import Transaction
from pipeline.store.work import Step
from pipeline.vault import Sealer
from schemas.am_messages import MAX_BODY_BYTES, AmMessage, parse
from schemas.dead_letter import DeadLetter
from schemas.problems import InvalidMessage
from schemas.wakeup import parse_wakeup

log = structlog.get_logger()

MAX_KEPT_BYTES = 2 * MAX_BODY_BYTES  # of what can't be read; a body this long is refused for its length anyway


class Intake:
    """Accepts what AM publishes on the exchange `daifu`. Its queue also carries wake-ups for requests that waited."""

    name = "intake"

    def __init__(self, limits: Limits, service_key: Sealer, clock: Clock) -> None:
        self._limits, self._service_key, self._clock = limits, service_key, clock

    def transact(self, tx: Transaction, bodies: Sequence[bytes]) -> Taken:
        letters: list[DeadLetter] = []
        messages: list[tuple[bytes, AmMessage]] = []
        waited: list[str] = []
        for body in bodies:
            if body.startswith(b'{"key":'):
                waited += parse_wakeup(body)
                continue
            try:
                messages.append((body, parse(body)))
            except InvalidMessage as error:
                letters.append(self._poison(body, str(error)))
        answers = acceptance.accept_all(tx, [message for _body, message in messages], self._limits, origin="queue")
        accepted = log.debug  # found once: structlog makes a logger anew for each time it is asked for one
        for (body, message), answer in zip(messages, answers, strict=True):
            if isinstance(answer, Conflict):
                letters.append(self._poison(body, str(answer), order_no=message.order_no))
            else:
                accepted("message_accepted", order=message.order_no, type=message.type, result=answer.result)
        self._give_up_waiting(tx, waited)
        return Taken(letters, [message for _body, message in messages])

    def _give_up_waiting(self, tx: Transaction, keys: Sequence[str]) -> None:
        # Before the rows are taken: who asks to pay one of these orders now, or stores it, waits, and sees what became of them.
        inbox.meet_orders(tx, sorted({parts[0] for key in keys if (parts := work.split_key(key)) is not None}))
        rows = work.take(tx, keys) if keys else []
        acceptance.give_up_waiting(tx, *(row.order_no for row in rows if row.step is Step.ORDER_WAIT))

    def _poison(self, body: bytes, detail: str, **known: Any) -> DeadLetter:
        return self.unfinished(body, Reason.POISON, detail, **known)

    def unfinished(self, body: bytes, reason: Reason, detail: str, order_no: str | None = None) -> DeadLetter:
        """A dead letter that keeps the body sealed under the second key ring; the same body is the same letter."""
        digest = hashlib.sha256(body).hexdigest()
        if len(body) > MAX_KEPT_BYTES:
            detail = f"{detail} (kept: the first {MAX_KEPT_BYTES} of {len(body)} bytes)"
        return DeadLetter(
            id=f"{self.name}:{reason}:{digest}",
            stage="intake",
            order_no=order_no,
            generation=None,
            reason=reason.value,
            detail=detail[:4000],
            body_sealed=self._service_key.seal(body[:MAX_KEPT_BYTES]),
            digest=digest,
            at=self._clock.now(),
        )
