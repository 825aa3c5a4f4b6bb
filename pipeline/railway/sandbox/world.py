"""The world that daifu pays in: 12306, the cashier and the agents as one state machine, without sockets.

It is the oracle of the money tests: `journal` says which forms were received and what money was taken. Two doors lead
in, `web.py` over HTTP and `inprocess.py` without; both await `synced` before an answer leaves.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.ports import Clock
from pipeline.railway.sandbox.agents import Agents
from pipeline.railway.sandbox.behaviours import BEHAVIOURS, LoginTrap, Shown
from pipeline.railway.sandbox.book import Book
from pipeline.railway.sandbox.controls import (
    AgentBody,
    ClockBody,
    ConflictError,
    HoldBody,
    InvalidError,
    OutageBody,
    checked,
)
from pipeline.railway.sandbox.holds import Hold, Passenger, Seat, hash_password, new_salt
from pipeline.railway.sandbox.journal import Journal, Record
from pipeline.railway.sandbox.ticketing import Ticketing
from pipeline.railway.sandbox.till import Till


class World:
    """`ticketing` is 12306, `till` the cashier, `agents` the agents; the rest are the control routes as calls.

    The control calls take the JSON bodies of INTERFACES section 7 as dicts and raise InvalidError (422).
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self.till = Till(book)
        self.ticketing = Ticketing(book, self.till)
        self.agents = Agents(book)

    def add_hold(self, body: object) -> Hold:
        """POST /sandbox/holds. Raises ConflictError for a number that is taken, and for a second unpaid order of the
        account without `force`. The account's password is the one given last."""
        wanted = checked(HoldBody, body)
        book = self._book
        now = book.now()
        if wanted.held_order_no in book.holds:
            raise ConflictError("held_order_no", "this hold exists already")
        others = book.holds_by_account.get(wanted.account, [])
        if not wanted.force and any(hold.state(now) == "unpaid" for hold in others):
            raise ConflictError("account", "this account has an unpaid order; force=true adds a second one")
        hold = _hold_of(wanted, now)
        salt = new_salt()
        password = wanted.password.get_secret_value()
        if hold.rule.login is LoginTrap.PASSWORD_DIFFERS:
            password += os.urandom(8).hex()
        hashed = hash_password(password, salt)
        book.write({"state": "hold", "hold": hold.to_record(), "salt": salt.hex(), "password_hash": hashed.hex()})
        return book.holds[hold.held_order_no]

    def hold(self, held_order_no: str) -> Record | None:
        """GET /sandbox/holds/{no}: `{state, pays, debits}`, None for a number nobody gave out."""
        self.till.settle()
        hold = self._book.holds.get(held_order_no)
        if hold is None:
            return None
        return {"state": hold.state(self._book.now()), "pays": hold.pays, "debits": hold.debits}

    def journal(self, after: int = 0) -> list[Record]:
        """GET /sandbox/journal: the lines with a `seq` above `after`."""
        self.till.settle()
        return [dict(line) for line in self._book.lines[max(after, 0) :]]

    def set_outage(self, body: object) -> Record:
        """PUT /sandbox/outage: replaces whatever outage there was. Returns what holds now."""
        wanted = checked(OutageBody, body)
        upstreams = [name for name in ("railway", "cashier") if getattr(wanted, name)]
        until = self._book.our_now() + timedelta(seconds=wanted.for_s)
        self._book.write({"state": "outage", "upstreams": upstreams, "mode": wanted.mode, "until": until.isoformat()})
        return wanted.model_dump()

    def set_clock(self, body: object) -> Record:
        """PUT /sandbox/clock: 12306's clock minus ours, in seconds. Deadlines given out before stay as printed."""
        wanted = checked(ClockBody, body)
        self._book.write({"state": "clock", "skew_s": wanted.skew_s})
        return wanted.model_dump()

    def set_agent(self, code: str, body: object) -> Record:
        """PUT /sandbox/agents/{code}. Returns what holds now, without the key."""
        wanted = checked(AgentBody, body)
        key = wanted.key.get_secret_value() if wanted.key is not None else None
        self._book.write({"state": "agent", "code": code, "answer": wanted.answer, "times": wanted.times, "key": key})
        return wanted.model_dump(exclude={"key"})

    def now(self) -> datetime:
        """12306's and the cashier's clock."""
        return self._book.now()

    @property
    def skew_s(self) -> float:
        return self._book.skew_s

    def find(self, held_order_no: str) -> Hold:
        """The hold behind a trade, for the pages. Raises KeyError."""
        return self._book.holds[held_order_no]

    async def synced(self) -> None:
        """Everything that happened so far is on disk."""
        await self._book.journal.synced()

    def close(self) -> None:
        self._book.journal.close()


def open_world(clock: Clock, path: Path | None) -> World:
    """The world as the journal file at `path` left it; None: a new one in memory. Raises OSError, JournalDamagedError."""
    return World(Book(clock, Journal(path)))


def _hold_of(wanted: HoldBody, now: datetime) -> Hold:
    people = len(wanted.passengers)
    if len(wanted.seats) not in {1, people}:
        raise InvalidError("seats", "one for each passenger, or one that stands for all")
    seats = wanted.seats if len(wanted.seats) == people else wanted.seats * people
    gone = BEHAVIOURS[wanted.behaviour].shown is Shown.GONE
    return Hold(
        held_order_no=wanted.held_order_no,
        account=wanted.account,
        train_no=wanted.train_no,
        departure_at=wanted.departure_at,
        from_station=wanted.from_station,
        to_station=wanted.to_station,
        passengers=tuple(Passenger(p.name, p.id_type, p.id_no, p.ticket_type) for p in wanted.passengers),
        seats=tuple(Seat(s.seat, s.price_fen) for s in seats),
        price_fen=wanted.price_fen,
        booked_at=now.replace(microsecond=0),
        pay_deadline=(now + timedelta(seconds=min(0, wanted.deadline_s) if gone else wanted.deadline_s)).replace(
            microsecond=0
        ),
        behaviour=wanted.behaviour,
        delay_ms=wanted.delay_ms,
    )


__all__ = ["ConflictError", "InvalidError", "World", "open_world"]
