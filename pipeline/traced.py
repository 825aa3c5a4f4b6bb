"""12306 and the cashier with every exchange noted for the trace of the call that makes it. Put in their place where traces are on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Final

from pipeline.errors import Upstream
from pipeline.ports import (
    Cashier,
    CashierLine,
    Clock,
    PaymentForm,
    Railway,
    RailwayOrder,
    RailwaySession,
    SubmitAnswer,
    SubmitKind,
    Trade,
)
from pipeline.traces import Part

_parts: Final[ContextVar[list[Part] | None]] = ContextVar("parts", default=None)


def noting_parts() -> list[Part]:
    """Where the exchanges of this task, and of those that it starts, are noted from here on."""
    parts: list[Part] = []
    _parts.set(parts)
    return parts


class _Noted:
    """What went wrong, where that is not an exception."""

    error = ""


@contextmanager
def _noted(clock: Clock, upstream: Upstream, name: str) -> Iterator[_Noted]:
    noted, began = _Noted(), clock.now().timestamp()
    try:
        yield noted
    except BaseException as error:  # a call that is cut short is an exchange too
        noted.error = type(error).__name__
        raise
    finally:
        parts = _parts.get()
        if parts is not None:
            parts.append(Part(upstream, name, began, clock.now().timestamp(), noted.error))


class TracedRailway:
    """`ports.Railway`."""

    def __init__(self, railway: Railway, clock: Clock) -> None:
        self._railway, self._clock = railway, clock

    async def login(self, login: str, password: str) -> RailwaySession:
        with _noted(self._clock, "railway", "login"):
            session = await self._railway.login(login, password)
        return TracedSession(session, self._clock)

    async def probe(self) -> None:
        await self._railway.probe()


class TracedSession:
    """`ports.RailwaySession`."""

    def __init__(self, session: RailwaySession, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self.skew_s = session.skew_s

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        with _noted(self._clock, "railway", "unpaid_orders"):
            return await self._session.unpaid_orders()

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        with _noted(self._clock, "railway", "find_order"):
            return await self._session.find_order(hold_no, around=around)

    async def payment_form(self, hold_no: str) -> PaymentForm:
        with _noted(self._clock, "railway", "payment_form"):
            return await self._session.payment_form(hold_no)

    async def close(self) -> None:
        await self._session.close()


class TracedCashier:
    """`ports.Cashier`."""

    def __init__(self, cashier: Cashier, clock: Clock) -> None:
        self._cashier, self._clock = cashier, clock

    async def open(self) -> CashierLine:
        with _noted(self._clock, "cashier", "open"):
            line = await self._cashier.open()
        return TracedLine(line, self._clock)

    async def trade(self, trade_no: str) -> Trade:
        with _noted(self._clock, "cashier", "trade"):
            return await self._cashier.trade(trade_no)

    async def probe(self) -> None:
        await self._cashier.probe()


class TracedLine:
    """`ports.CashierLine`."""

    def __init__(self, line: CashierLine, clock: Clock) -> None:
        self._line, self._clock = line, clock

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        with _noted(self._clock, "cashier", "submit") as noted:
            answer = await self._line.submit(form, still_ours)
            if answer.kind is not SubmitKind.SENT:
                noted.error = answer.kind.value
            return answer

    async def close(self) -> None:
        await self._line.close()
