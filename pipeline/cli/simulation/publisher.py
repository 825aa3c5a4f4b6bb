"""AM's publisher: every message until the broker confirms it, and again, with the same id, what a lost broker disk may have taken."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import datetime

from pipeline.broker.port import BrokerUnavailable, Outbox, Outgoing
from pipeline.broker.topology import EXCHANGE
from pipeline.cli.simulation.virtual_clock import VirtualClock
from schemas.am_messages import AmEvent, NeedPayEvent
from schemas.envelope import CONTENT_TYPE
from schemas.results import ResultEvent

LONGEST_WAIT_S = 5.0
ANSWERS = ("purchase.accepted", "purchase.refused")


@dataclass(frozen=True, slots=True)
class Sent:
    event: AmEvent
    at: datetime


class Publisher:
    """`sent` is what the broker confirmed at least once. Nothing is given up."""

    def __init__(self, outbox: Outbox, clock: VirtualClock, randomness: random.Random) -> None:
        self._outbox, self._clock, self._random = outbox, clock, randomness
        self.sent: dict[str, Sent] = {}
        self.under_way = 0
        self._answered: dict[
            str, datetime
        ] = {}  # order -> when daifu last said accepted or refused, as far as AM read it

    async def send(self, *events: AmEvent) -> None:
        """Return when the broker has confirmed them."""
        self.under_way += 1
        messages = [Outgoing(EXCHANGE, event.type, event.to_bytes(), CONTENT_TYPE) for event in events]
        while True:
            try:
                await self._outbox.publish(messages)
            except BrokerUnavailable:
                await asyncio.sleep(self._random.uniform(0.1, LONGEST_WAIT_S))
                continue
            break
        for event in events:
            self.sent.setdefault(event.id, Sent(event, self._clock.now()))
        self.under_way -= 1

    def read(self, results: list[ResultEvent]) -> None:
        """Results that AM has read."""
        for result in results:
            if result.type in ANSWERS:
                known = self._answered.get(result.data.order_no)
                self._answered[result.data.order_no] = max(known or result.data.at, result.data.at)

    def unanswered(self) -> list[AmEvent]:
        """What AM can't know to have arrived: requests without accepted or refused, and everything that gets no answer."""
        waiting = []
        for sent in self.sent.values():
            answered = self._answered.get(sent.event.data.order_no)
            if not isinstance(sent.event, NeedPayEvent) or answered is None or answered < sent.at:
                waiting.append(sent.event)
        return waiting

    async def send_again(self) -> None:
        """The disk of the broker is gone."""
        again = self.unanswered()
        self._random.shuffle(again)
        for event in again:
            await self.send(event)
