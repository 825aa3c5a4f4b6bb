"""Orders as they come: a user who paid, an agent who held seats with an account, and the request, by queue or by HTTP."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pipeline.agent_asks import AgentAsk
from pipeline.cli.simulation.swarm import Swarm
from pipeline.cli.simulation.trips import PRICE_FEN, hold_body, order_paid
from pipeline.cli.simulation.virtual_clock import START
from pipeline.railway.sandbox.world import World
from pipeline.requests import RequestKind
from pipeline.vault import PublicKey
from schemas.orders import OrderPaid

DEADLINES_S = (1_800.0, 1_800.0, 900.0, 300.0)
LATE_FORMS_MS = (0, 0, 0, 0, 3_000, 25_000, 45_000)
PRICES_FEN = (PRICE_FEN, PRICE_FEN, 90_000, 128_400)
SOON = timedelta(hours=3)


@dataclass(slots=True)
class Customer:
    """One order and what its agent did for it."""

    order_no: str
    agent: str
    account: str
    password: str
    order: OrderPaid
    departs_soon: bool
    price_fen: int
    names_hold: bool
    states_price: bool
    sends_password: bool
    by_http: bool
    holds: list[str] = field(default_factory=list)
    asks: int = 0  # of every kind; makes ids and digests

    @property
    def hold(self) -> str:
        return self.holds[-1]


class Crowd:
    """Makes customers, and holds for them. `by_no` keeps the order in which they came."""

    def __init__(self, swarm: Swarm, randomness: random.Random, world: World, agents: tuple[str, ...]) -> None:
        self._swarm, self._random, self._world, self._agents = swarm, randomness, world, agents
        self.by_no: dict[str, Customer] = {}
        self._holds = 0
        self._accounts: list[tuple[str, str]] = []

    def arrive(self) -> Customer:
        """A new order with held seats."""
        source, number = self._random, f"sim{len(self.by_no) + 1:05d}"
        agent = source.choice(self._agents)
        account, password = self._account(number)
        soon = source.random() < 0.3
        departure = (START + SOON).replace(second=0)
        changes: dict[str, Any] = {"agent": agent, "trip": "joint" if source.random() < 0.03 else "single"}
        if soon:
            changes["departure_at"] = departure.isoformat()
        customer = Customer(
            number,
            agent,
            account,
            password,
            order_paid(number, **changes),
            soon,
            source.choice(PRICES_FEN),
            names_hold=source.random() < 0.8,
            states_price=source.random() < 0.7,
            sends_password=source.random() < 0.9,
            by_http=source.random() < 0.4,
        )
        self.by_no[number] = customer
        self.hold_seats(customer)
        return customer

    def _account(self, number: str) -> tuple[str, str]:
        if self._accounts and self._random.random() < self._swarm.shared_accounts:
            return self._random.choice(self._accounts)
        own = (f"{number}@example.com", f"invented-{number}")
        self._accounts.append(own)
        return own

    def hold_seats(self, customer: Customer) -> str:
        """The agent holds (again) on 12306. Returns the hold number."""
        source, swarm = self._random, self._swarm
        self._holds += 1
        number = f"E{self._holds:09d}"
        healthy = source.random() < swarm.healthy or len(swarm.behaviours) == 1
        behaviour = swarm.behaviours[0] if healthy else source.choice(swarm.behaviours[1:])
        more: dict[str, Any] = {
            "price_fen": customer.price_fen,
            "deadline_s": source.choice(DEADLINES_S),
            "delay_ms": source.choice(LATE_FORMS_MS),
            "departure_at": customer.order.departure_at.isoformat(),
            "force": True,
        }
        self._world.add_hold(hold_body(number, customer.account, customer.password, behaviour, **more))
        customer.holds.append(number)
        return number

    def request(self, customer: Customer, *, hold: str | None = None) -> dict[str, Any]:
        """What its NEED_PAY says, for `AmSide.need_pay`."""
        customer.asks += 1
        return {
            "order_no": customer.order_no,
            "hold_no": hold or (customer.hold if customer.names_hold else None),
            "account": customer.account,
            "password": customer.password if customer.sends_password else None,
            "agent": customer.agent,
            "price_fen": customer.price_fen if customer.states_price else None,
        }

    def ask(self, customer: Customer, vault_key: PublicKey, *, hold: str | None = None) -> AgentAsk:
        """The same over HTTP."""
        named = hold or (customer.hold if customer.names_hold else None)
        stated = customer.price_fen if customer.states_price else None
        return AgentAsk(
            customer.agent,
            customer.order_no,
            RequestKind.NEED_PAY,
            customer.account,
            vault_key.seal(customer.password),
            named,
            stated,
            digest=f"{customer.order_no}:{named}:{stated}",
        )
