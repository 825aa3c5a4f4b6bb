"""Runners for the stages that are one transaction: credentials and settlement by work keys, intake by raw messages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from pipeline import setbacks
from pipeline.broker.messages import dead_letter_message
from pipeline.broker.port import BrokerUnavailable, Delivery, Unroutable
from pipeline.reasons import Reason
from pipeline.runner import FIRST_WAIT_S, LONGEST_WAIT_S, Ports, Runner, describe
from pipeline.stage import CRASH_LOOP_DEATHS, MAX_BATCH, OneTransaction, Taken
from pipeline.store import control, suspects, work
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.traces import Begun, Worked
from schemas.dead_letter import DeadLetter

log = structlog.get_logger()

#: How long intake rests after a batch, in times that the batch took. What comes meanwhile goes through all five stages as one
#: batch, and a batch costs nearly the same whether it is of one order or of twenty: without it the cores are full of small ones.
REST: Final = 3.0
LONGEST_REST_S: Final = 0.2


class TransactionRunner(Runner):
    """Drives a stage without a call. `careful` after an unclean death: what is touched is counted before it is touched."""

    def __init__(self, stage: OneTransaction, ports: Ports, *, careful: bool) -> None:
        super().__init__(stage.name, ports)
        self.stage = stage
        self.careful = careful

    async def run(self) -> None:
        while not self.stopping.is_set():
            woken = await self.woken(MAX_BATCH)
            if not woken:
                continue
            keys, deliveries = woken.keys, woken.deliveries
            began = self.ports.clock.monotonic()
            self.ports.metrics.messages.labels(self.stage_name).inc(len(deliveries))
            if keys and (self.careful or woken.redelivered):
                await self._carefully(keys)
            elif keys:
                await self.in_halves(keys, self.stage.transact, self._alone, self.finished)
            self.ports.inbox.ack(deliveries)
            self.processed(began)
            if self.ports.traces is not None:
                await self._trace(keys, self.ports.clock.monotonic() - began)
            log.info("batch_done", stage=self.stage_name, rows=len(keys), messages=len(deliveries))
            log.debug("batch_orders", stage=self.stage_name, work_keys=keys)
        await self.told()

    async def _trace(self, keys: Sequence[str], seconds: float) -> None:
        ended = self.ports.clock.now().timestamp()
        parts = [key.rpartition(":") for key in keys]
        await self.trace([Worked(purchase_id, step, ended - seconds, ended) for purchase_id, _, step in parts])

    async def _carefully(self, keys: Sequence[str]) -> None:
        """Count a possible death before each group is touched; who has seen three goes to the dead letters."""
        deaths: dict[str, int] = await self.write(lambda tx: suspects.deaths_of(tx, keys))
        doomed = [key for key, seen in deaths.items() if seen >= CRASH_LOOP_DEATHS]
        if doomed:
            await self.write(lambda tx: self._crash_loop(tx, doomed))
        for group in suspects.groups({key: seen for key, seen in deaths.items() if key not in doomed}):
            await self._try(group)

    async def _try(self, group: Sequence[str]) -> None:
        await self.write(lambda tx: suspects.count(tx, group))
        await self.in_halves(group, self.stage.transact, self._alone, self.finished)
        await self.write(lambda tx: suspects.absolve(tx, group))

    def _crash_loop(self, tx: Transaction, keys: Sequence[str]) -> None:
        for row in work.unclaimed(tx, keys):
            detail = f"{row.deaths} 次处理时进程崩溃"
            setbacks.give_up(tx, row, Reason.CRASH_LOOP, detail, actor=f"system:{self.stage_name}")

    def _alone(self, tx: Transaction, key: str, error: Exception) -> None:
        for row in work.unclaimed(tx, [key]):
            setbacks.put_off(tx, row, describe(error), actor=f"system:{self.stage_name}")


class Intake(Protocol):
    """The first stage: messages from AM are themselves the work until its commit."""

    name: str

    def transact(self, tx: Transaction, bodies: Sequence[bytes]) -> Taken:
        """Accept messages; what can't be accepted comes back as dead letters, to be published before the ack."""

    def unfinished(self, body: bytes, reason: Reason, detail: str) -> DeadLetter:
        """The dead letter of a body that failed for a reason nobody named."""


class IntakeRunner(Runner):
    """Drives intake. A body without a row is counted by its digest when it may have killed a worker.

    After a batch that was not full it rests for a moment: what comes after a longer silence is taken at once.
    """

    def __init__(self, stage: Intake, ports: Ports, *, careful: bool) -> None:
        super().__init__(stage.name, ports)
        self.stage = stage
        self.careful = careful

    async def run(self) -> None:
        while not self.stopping.is_set():
            deliveries = await self.take(MAX_BATCH)
            if not deliveries:
                continue
            began = self.ports.clock.monotonic()
            self.ports.metrics.messages.labels(self.stage_name).inc(len(deliveries))
            letters = await self._accept(deliveries)
            if await self._publish_letters(letters):
                self.ports.inbox.ack(deliveries)
                await self._forget_deaths(letters)
            self.processed(began)
            log.info("batch_done", stage=self.stage_name, messages=len(deliveries), dead_letters=len(letters))
            if len(deliveries) < MAX_BATCH:
                await self._rest(min(LONGEST_REST_S, REST * (self.ports.clock.monotonic() - began)))
        await self.told()

    async def _rest(self, seconds: float) -> None:
        """No longer than until a full batch is here."""
        await self.unless_stopping(self.ports.inbox.gathered(MAX_BATCH), seconds)

    async def _accept(self, deliveries: Sequence[Delivery]) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        suspicious = self.careful or any(delivery.redelivered for delivery in deliveries)
        if suspicious:
            await self._carefully({hashlib.sha256(it.body).hexdigest(): it.body for it in deliveries}, letters)
        else:
            await self._in_parts([delivery.body for delivery in deliveries], letters)
        return letters

    async def _carefully(self, bodies: Mapping[str, bytes], letters: list[DeadLetter]) -> None:
        """Together what no worker died with yet (one that ended gave it back); one by one what was there at a death."""
        fresh = await self.write(lambda tx: control.suspect_bodies(tx, bodies, now(tx)))
        together = [digest for digest in bodies if digest in fresh]
        if together:
            await self._in_parts([bodies[digest] for digest in together], letters)
            await self.write(lambda tx: control.clear_bodies(tx, together))
        for digest in (it for it in bodies if it not in fresh):
            await self._alone(digest, bodies[digest], letters)

    async def _alone(self, digest: str, body: bytes, letters: list[DeadLetter]) -> None:
        """Count a possible death right before this body is touched: what died with a deadly one must not be counted."""
        deaths = await self.write(lambda tx: control.count_death(tx, digest, now(tx)))
        if deaths >= CRASH_LOOP_DEATHS:
            letters.append(self.stage.unfinished(body, Reason.CRASH_LOOP, f"{deaths} 次处理时进程崩溃"))
            return  # counted until its letter is published: the next body of this batch may be deadly too
        await self._in_parts([body], letters)
        await self.write(lambda tx: control.clear_bodies(tx, [digest]))

    async def _forget_deaths(self, letters: Sequence[DeadLetter]) -> None:
        """The deadly bodies are set aside: one that comes again, mended or replayed, starts from zero."""
        digests = [letter.digest for letter in letters if letter.reason == Reason.CRASH_LOOP and letter.digest]
        if digests:
            await self.write(lambda tx: control.clear_bodies(tx, digests))

    async def _in_parts(self, bodies: Sequence[bytes], letters: list[DeadLetter], *, once_more: bool = True) -> None:
        try:
            taken, begun = await self.write(lambda tx: self._transact(tx, bodies))
            letters.extend(taken.letters)
            self.finished([message.time for message in taken.messages])
            if begun is not None:
                begun.end()
        except Exception as error:
            if len(bodies) > 1:
                middle = len(bodies) // 2
                await self._in_parts(bodies[:middle], letters)
                await self._in_parts(bodies[middle:], letters)
            elif once_more:  # another intake may just have accepted the same message: then it is a repeat now
                await self._in_parts(bodies, letters, once_more=False)
            else:
                log.exception("message_failed", stage=self.stage_name)
                letters.append(self.stage.unfinished(bodies[0], Reason.UNEXPECTED_ERROR, describe(error)))

    def _transact(self, tx: Transaction, bodies: Sequence[bytes]) -> tuple[Taken, Begun | None]:
        traces = self.ports.traces
        began = self.ports.clock.now().timestamp()
        taken = self.stage.transact(tx, bodies)
        return taken, None if traces is None else traces.accept(tx, taken.messages, began)

    async def _publish_letters(self, letters: Sequence[DeadLetter]) -> bool:
        """Undecodable input is published, confirmed, before its ack; while the broker is gone it stays unacked."""
        wait_s = FIRST_WAIT_S
        while letters:
            try:
                await self.ports.outbox.publish([dead_letter_message(letter) for letter in letters])
            except (BrokerUnavailable, Unroutable) as error:
                log.warning("dead_letters_wait_for_broker", letters=len(letters), error=str(error))
                if self.stopping.is_set():
                    return False
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                continue
            return True
        return True
