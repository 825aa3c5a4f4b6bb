"""The dead-letter desk: drains every `.dlq` queue into the database, where people search (DESIGN section 7).

A letter that has a row is marked seen. What nobody had a row for is stored: undecodable input of intake, and whatever else
came to lie in a `.dlq` (the broker itself may put AM's messages there). The ack follows the commit; nothing goes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from pipeline.broker.port import Delivery, Inbox
from pipeline.reasons import Reason
from pipeline.stage import MAX_BATCH, Executor
from pipeline.store import dead_letters
from pipeline.store.clock import now
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.vault import Sealer
from schemas.dead_letter import DeadLetter, parse_dead_letter
from schemas.problems import InvalidMessage

log = structlog.get_logger()

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


class DeadLetterDesk:
    """`inboxes` are the consumers of the `.dlq` queues, by stage; whoever opened them closes them.

    `service_key` seals what nobody could decode, as intake does.
    """

    def __init__(self, store: Store, executor: Executor, inboxes: Mapping[str, Inbox], service_key: Sealer) -> None:
        self._store, self._executor = store, executor
        self._inboxes, self._service_key = dict(inboxes), service_key
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; `run` returns when what was taken is stored."""
        self._stopping.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for stage, inbox in self._inboxes.items():
                group.create_task(self._drain(stage, inbox))

    async def _drain(self, stage: str, inbox: Inbox) -> None:
        while not self._stopping.is_set():
            deliveries = await self._take(inbox)
            if deliveries and await self._keep(stage, deliveries):
                inbox.ack(deliveries)
                log.info("dead_letters_kept", stage=stage, messages=len(deliveries))

    async def _take(self, inbox: Inbox) -> list[Delivery]:
        """The next messages, or none when stopping."""
        taking = asyncio.ensure_future(inbox.take(MAX_BATCH))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else []
        finally:
            stopping.cancel()
            if not taking.done():
                taking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await taking

    async def _keep(self, stage: str, deliveries: Sequence[Delivery]) -> bool:
        """Store them, waiting for the database for as long as it takes. False: stopped before; the broker keeps them."""
        bodies = [delivery.body for delivery in deliveries]
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._executor.run(lambda: self._store.write(lambda tx: self._record(tx, stage, bodies)))
            except StoreUnavailable as error:
                log.warning("dead_letters_wait_for_database", stage=stage, error=str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait_s)
                    return False
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                continue
            return True

    def _record(self, tx: Transaction, stage: str, bodies: Sequence[bytes]) -> None:
        moment = now(tx)
        letters = {letter.id: letter for letter in (self._letter(stage, body, moment) for body in bodies)}
        rows = [_row(letter, moment) for letter in letters.values()]
        new = dead_letters.add_raw(tx, rows)
        dead_letters.mark_seen(tx, list(letters))
        for uid, letter in letters.items():
            # The same body again, after somebody closed its letter: it failed again. A redelivered message has the old time.
            if uid not in new and letter.body_sealed is not None:
                dead_letters.came_again(tx, uid, letter.at)

    def _letter(self, stage: str, body: bytes, moment: datetime) -> DeadLetter:
        try:
            return parse_dead_letter(body)
        except InvalidMessage as error:
            digest = hashlib.sha256(body).hexdigest()
            return DeadLetter(
                id=f"{stage}.dlq:{Reason.POISON}:{digest}",
                stage=stage,  # type: ignore[arg-type] # a stage's name, checked by the model
                order_no=None,
                generation=None,
                reason=Reason.POISON.value,
                detail=f"死信队列里的消息无法识别 (sha256 {digest[:16]}): {error}"[:4000],
                body_sealed=self._service_key.seal(body),
                digest=digest,
                at=moment,
            )


def _row(letter: DeadLetter, moment: datetime) -> dict[str, Any]:
    return {
        "uid": letter.id,
        "stage": letter.stage,
        "order_no": letter.order_no,
        "generation": letter.generation,
        "agent": None,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": 1,
        "first_at": letter.at,
        "last_at": letter.at,
        "amount_fen": None,
        "deadline": None,
        "state": "open",
        "replays": 0,
        "body_sealed": letter.body_sealed,
        "note": None,
        "wake_at": None,
        "wakes": 0,
        "seen_at": moment,
    }
