"""What the sandbox remembers: holds, trades, accounts, agents, outages. Plain data and the questions they can answer.

All times are 12306's clock, which /sandbox/clock may set apart from ours; outages alone run by our clock.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pipeline.ports import TradeState
from pipeline.railway.sandbox.behaviours import BEHAVIOURS, Behaviour, Shown, Way

HoldState = Literal["unpaid", "paid", "issued", "expired"]


@dataclass(frozen=True, slots=True)
class Passenger:
    name: str
    id_type: str  # 12306 code
    id_no: str = field(repr=False)
    ticket_type: str  # Qunar code


@dataclass(frozen=True, slots=True)
class Seat:
    seat: str  # 席别 by name
    price_fen: int


@dataclass(slots=True)
class Hold:
    """Seats held on 12306 by an account, and what became of them."""

    held_order_no: str
    account: str
    train_no: str
    departure_at: datetime
    from_station: str
    to_station: str
    passengers: tuple[Passenger, ...]
    seats: tuple[Seat, ...]  # one per passenger
    price_fen: int
    booked_at: datetime
    pay_deadline: datetime  # whole seconds, as 12306 prints it
    behaviour: str
    delay_ms: int
    # what happened since
    pays: int = 0
    debits: int = 0
    issued: bool = False
    refunded: bool = False
    busy_given: int = 0
    left_out: int = 0
    session_lost: bool = False
    trade_nos: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.issued = self.issued or self.rule.shown is Shown.FINISHED

    @property
    def rule(self) -> Behaviour:
        return BEHAVIOURS[self.behaviour]

    @property
    def total_fen(self) -> int:
        """What 12306 asks for, on every page."""
        return self.price_fen + self.rule.price_up_fen

    @property
    def muted(self) -> bool:
        return self.rule.mutes and self.debits > 0

    def state(self, now: datetime) -> HoldState:
        if self.issued:
            return "issued"
        if self.debits:
            return "paid"
        if self.rule.shown is not Shown.UNPAID or now >= self.pay_deadline:
            return "expired"
        return "unpaid"

    def to_record(self) -> dict[str, Any]:
        """The facts the hold began with, for the journal file."""
        return {
            "held_order_no": self.held_order_no,
            "account": self.account,
            "train_no": self.train_no,
            "departure_at": self.departure_at.isoformat(),
            "from_station": self.from_station,
            "to_station": self.to_station,
            "passengers": [[p.name, p.id_type, p.id_no, p.ticket_type] for p in self.passengers],
            "seats": [[s.seat, s.price_fen] for s in self.seats],
            "price_fen": self.price_fen,
            "booked_at": self.booked_at.isoformat(),
            "pay_deadline": self.pay_deadline.isoformat(),
            "behaviour": self.behaviour,
            "delay_ms": self.delay_ms,
        }

    @staticmethod
    def from_record(record: dict[str, Any]) -> Hold:
        facts = dict(record)
        for name in ("departure_at", "booked_at", "pay_deadline"):
            facts[name] = datetime.fromisoformat(facts[name])
        facts["passengers"] = tuple(Passenger(*p) for p in facts["passengers"])
        facts["seats"] = tuple(Seat(*s) for s in facts["seats"])
        return Hold(**facts)


@dataclass(slots=True)
class CashierTrade:
    """One walk to the cashier: a form handed out, then perhaps received, paid, given back."""

    trade_no: str
    held_order_no: str
    amount_fen: int  # of the form
    deadline: datetime
    received: bool = False
    taken_fen: int = 0
    refunded_fen: int = 0

    def state(self, now: datetime) -> TradeState:
        if self.refunded_fen:
            return TradeState.REFUNDED
        if self.taken_fen:
            return TradeState.PAID
        if not self.received:
            return TradeState.NONE
        return TradeState.CLOSED if now >= self.deadline else TradeState.WAITING


@dataclass(slots=True)
class Account:
    """A 12306 login. Of its password only a salted hash is kept, in memory and in the file."""

    salt: bytes
    password_hash: bytes
    wrong_tries: int = 0
    locked_until: datetime | None = None

    def knows(self, password: str) -> bool:
        return hash_password(password, self.salt) == self.password_hash


@dataclass(slots=True)
class Agent:
    """How an agent's address answers the payStatus callback. `times_left` None: always so."""

    key: str = field(default="", repr=False)
    answer: str = "ok"
    times_left: int | None = None

    @property
    def next_answer(self) -> str:
        return "ok" if self.times_left == 0 else self.answer


@dataclass(frozen=True, slots=True)
class Outage:
    way: Way
    until: datetime  # by our clock


def new_salt() -> bytes:
    return os.urandom(16)


def hash_password(password: str, salt: bytes) -> bytes:
    """Cheap on purpose: it keeps passwords out of files, it does not guard anything worth an attack."""
    return hashlib.blake2b(password.encode(), key=salt, digest_size=32).digest()
