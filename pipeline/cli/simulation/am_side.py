"""What people do to the house: agents, funds, holds on 12306, and the messages that AM publishes with the product's own SDK."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from pipeline import ledger as postings
from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EXCHANGE
from pipeline.cli.simulation.incarnation import Incarnation
from pipeline.cli.simulation.trips import AGENT, KEY, TOP_UP_FEN, WEBHOOK_SECRET, hold_body, order_paid
from pipeline.cli.simulation.virtual_broker import VirtualBroker
from pipeline.cli.simulation.virtual_clock import LifeClock, VirtualClock
from pipeline.ports import AgentCaller, Cashier, Clock, Railway
from pipeline.railway.sandbox.inprocess import InProcessAgents, InProcessCashier, InProcessRailway
from pipeline.railway.sandbox.world import World, open_world
from pipeline.store import ledger, tables
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_rows
from pipeline.vault import KeyRing
from producers.sdk_events import EventMaker
from schemas.am_messages import AmData, AmEvent
from schemas.envelope import CONTENT_TYPE


class AmSide(ABC):
    """The outside of a house: its clock, its broker, its sandbox and its keys."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = VirtualBroker()
        self.vault, self.service_keys = KeyRing.generate(), KeyRing.generate()
        self.world = open_world(self.clock, None)
        self.maker = EventMaker(self.vault.public)
        self._ids = 0

    @abstractmethod
    def write(self, work: Callable[[Transaction], Any]) -> Any:
        """One transaction of a person."""

    def clock_of(self, life: Incarnation) -> Clock:
        """What a process reads its time from; leases and deadlines are the database's, which goes by the house's clock."""
        return LifeClock(self.clock, life)

    def railway_in(self, world: World, timeout_s: float) -> Railway:
        """12306 as a process reaches it."""
        return InProcessRailway(world, timeout_s=timeout_s)

    def cashier_in(self, world: World, timeout_s: float) -> Cashier:
        return InProcessCashier(world, timeout_s=timeout_s)

    def agents_in(self, world: World) -> AgentCaller:
        return InProcessAgents(world)

    def add_agent(self, code: str = AGENT, *, top_up_fen: int = TOP_UP_FEN) -> None:
        row = {
            "code": code,
            "callback_url": f"http://127.0.0.1/sandbox/agents/{code}/callback",
            "merchant_key_sealed": self.service_keys.seal(KEY),
            "webhook_secret_sealed": self.service_keys.seal(WEBHOOK_SECRET),
            "password_sealed": None,
            "password_hash": None,
            "created_at": self.clock.now(),
        }
        self.write(lambda tx: insert_rows(tx, tables.agents, [row]))
        if top_up_fen:
            self.top_up(code, top_up_fen)
        self.world.set_agent(code, {"answer": "ok", "key": KEY})

    def top_up(self, code: str, fen: int) -> None:
        self._ids += 1
        self.write(lambda tx: ledger.apply(tx, [postings.top_up(code, str(self._ids), fen, "充值")]))

    async def send(self, *events: AmEvent) -> None:
        """AM publishes."""
        await self.broker.outbox().publish(
            [Outgoing(EXCHANGE, event.type, event.to_bytes(), CONTENT_TYPE) for event in events]
        )

    def event(self, data: AmData, event_id: str | None = None) -> AmEvent:
        self._ids += 1
        return self.maker.event(data, event_id=event_id or f"m{self._ids}", time=self.clock.now())

    def need_pay(self, order_no: str, hold_no: str | None, account: str, password: str | None, **more: Any) -> AmEvent:
        self._ids += 1
        return self.maker.need_pay(
            **{
                "order_no": order_no,
                "agent": AGENT,
                "account": account,
                "password": password,
                "held_order_no": hold_no,
                "price_fen": 124_100,
                "asked_at": self.clock.now(),
                "event_id": f"m{self._ids}",
                **more,
            }
        )

    async def buy(
        self,
        order_no: str,
        behaviour: str = "ok",
        *,
        account: str | None = None,
        order: dict[str, Any] | None = None,
        request: dict[str, Any] | None = None,
        **hold: Any,
    ) -> str:
        """Hold seats, then AM sends the order and the agent's request. Returns the hold number."""
        number = f"E{self._count_holds():09d}"
        account, password = account or f"{order_no}@example.com", f"invented-{order_no}"
        self.world.add_hold(hold_body(number, account, password, behaviour, **hold))
        paid = self.event(order_paid(order_no, **(order or {})))
        await self.send(paid, self.need_pay(order_no, number, account, password, **(request or {})))
        return number

    def _count_holds(self) -> int:
        self._ids += 1
        return self._ids
