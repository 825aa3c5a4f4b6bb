"""Helpers of the sandbox's tests: a clock that stands still, a hold's body, and somebody who pays at the world's level."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.ports import RailwayOrder
from pipeline.railway.sandbox.till import Reply, yuan
from pipeline.railway.sandbox.world import World, open_world

ACCOUNT, PASSWORD, HOLD_NO = "agent_user01", "invented-pass-1", "E123456789"
START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
ANY_DAY = (date(2026, 11, 21), date(2026, 11, 24))


class StandingClock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def hold_body(behaviour: str = "ok", **changes: Any) -> dict[str, Any]:
    """The body of POST /sandbox/holds for two passengers, 1241.00 yuan, 30 minutes."""
    body: dict[str, Any] = {
        "account": ACCOUNT,
        "password": PASSWORD,
        "held_order_no": HOLD_NO,
        "train_no": "T189",
        "departure_at": "2026-11-30T10:00:00+08:00",
        "from": "北京西",
        "to": "南宁",
        "passengers": [
            {"name": "张三", "id_type": "1", "id_no": "000000190001010000"},
            {"name": "李四", "id_type": "B", "id_no": "X00000000", "ticket_type": "0"},
        ],
        "seats": [{"seat": "硬卧下", "price_fen": 82050}, {"seat": "硬卧上", "price_fen": 42050}],
        "price_fen": 124100,
        "deadline_s": 1800,
        "behaviour": behaviour,
    }
    return {**body, **changes}


class Payer:
    """Logs in, looks, walks to the form, submits and asks, straight on the world."""

    def __init__(self, clock: StandingClock | None = None, path: Path | None = None) -> None:
        self.clock = clock or StandingClock()
        self.world: World = open_world(self.clock, path)
        self._logins = 0
        self.sid = ""

    def log_in(self, account: str = ACCOUNT, password: str = PASSWORD, captcha: str = "") -> str:
        self._logins += 1
        sid = f"sid-{id(self)}-{self._logins}"
        self.world.ticketing.login(sid, account, password, captcha)
        self.world.ticketing.enter(sid)
        self.sid = sid
        return sid

    def form(self, hold_no: str = HOLD_NO) -> dict[str, str]:
        """Walk to the cashier's form; what the cashier reads of it."""
        ticketing = self.world.ticketing
        ticketing.choose(self.sid, hold_no)
        trade = ticketing.order_form(self.sid)
        ticketing.gateway(trade.trade_no)
        return {"ord_id_ext": trade.trade_no, "ord_amt": yuan(trade.amount_fen)}

    def pay(self) -> tuple[str, Reply]:
        """Log in, walk, submit once: the trade's number and the cashier's reply."""
        self.log_in()
        form = self.form()
        return form["ord_id_ext"], self.world.till.submit(form)

    def finished(self, hold_no: str = HOLD_NO) -> tuple[RailwayOrder, ...]:
        return self.world.ticketing.finished(self.sid, hold_no, *ANY_DAY, departed=False)

    def unpaid(self) -> tuple[RailwayOrder, ...]:
        return self.world.ticketing.unpaid(self.sid)

    def kinds(self) -> Counter[str]:
        return Counter(line["kind"] for line in self.world.journal())

    def outcomes(self, kind: str) -> list[str]:
        return [line["outcome"] for line in self.world.journal() if line["kind"] == kind]
