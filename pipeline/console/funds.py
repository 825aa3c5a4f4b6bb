"""/funds 资金: balances and what is short, 资金流水, top-up, 试算平衡. Agents see their own; who works here sees all and tops up."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from pipeline import operations
from pipeline.console.fields import Day, MaybeText, Moment, Text, Words, Yuan, begins, days_of, ends, fen_of
from pipeline.console.problems import Missing
from pipeline.console.visit import Everybody, ProvenStaff, Visit
from pipeline.ledger import Account
from pipeline.store.clock import now
from pipeline.store.queries_funds import funds_of_all, statement, trial_balance
from schemas.fields import MAX_FEN

router = APIRouter()
Once = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
DAYS = 30  # of a statement when nobody says since when


class Which(BaseModel):
    """`since` and `until` are days in Asia/Shanghai, both included; the last 30 without them."""

    account: Account = Account.PROCUREMENT
    since: Day = None
    until: Day = None
    cursor: MaybeText = None


class At(BaseModel):
    """Balances just before that moment; now without one."""

    at: Moment = None


class TopUp(BaseModel):
    """`once` names this top-up: the same name again is refused, so that nothing is booked twice."""

    fen: Annotated[int, Field(ge=1, le=MAX_FEN)]
    reason: Words
    once: Once


class TopUpForm(BaseModel):
    amount: Yuan
    reason: Words
    once: Once


class Fund(BaseModel):
    """An agent's balances. `waiting_fen`: purchases that wait to be paid, `left_fen`: the procurement fund less these; `level`: fine, low
    (less than FUND_WARN_FEN left) or short (orders will fail)."""

    agent: str
    frozen_fen: int
    procurement_fen: int
    in_flight_fen: int
    available_fen: int
    refund_fen: int
    waiting: int
    waiting_fen: int
    left_fen: int
    level: str


class Entry(BaseModel):
    """`others`: the accounts on the other side; `balance_fen`: after it."""

    at: str
    kind: str
    order_no: str | None
    others: list[str]
    amount_fen: int
    balance_fen: int
    note: str
    posting: str


class Statement(BaseModel):
    agent: str
    account: str
    opening_fen: int
    got_fen: int
    gave_fen: int
    closing_fen: int
    entries: int
    rows: list[Entry]
    next: str | None


class Held(BaseModel):
    """What each account held; user, railway and bank are the outside world."""

    frozen_fen: int
    procurement_fen: int
    in_flight_fen: int
    available_fen: int
    refund_fen: int
    user_fen: int
    railway_fen: int
    bank_fen: int


class AgentHeld(Held):
    agent: str


class TrialBalance(BaseModel):
    at: str
    agents: list[AgentHeld]
    total: Held
    sum_fen: int


@router.get("/api/v1/funds")
def list_funds(visit: Everybody) -> list[Fund]:
    """Every agent's fund; an agent sees its own."""
    return [Fund.model_validate(one) for one in _funds(visit)]


@router.get("/api/v1/funds/{agent}")
def read_fund(visit: Everybody, agent: Text) -> Fund:
    return Fund.model_validate(_fund(visit, agent))


@router.get("/api/v1/funds/{agent}/statement")
def read_statement(visit: Everybody, agent: Text, wanted: Annotated[Which, Query()]) -> Statement:
    """资金流水 of one account: opening and closing balance, and entries in time order with the balance after each."""
    _fund(visit, agent)
    return Statement.model_validate(_statement(visit, agent, wanted))


@router.post("/api/v1/funds/{agent}/top-up")
def top_up(visit: ProvenStaff, agent: Text, given: TopUp) -> Fund:
    """Money came from the bank into the procurement fund."""
    visit.write(lambda tx: operations.top_up_fund(tx, agent, given.fen, given.reason, visit.actor, once=given.once))
    return read_fund(visit, agent)


@router.get("/api/v1/trial-balance")
def read_trial_balance(visit: Everybody, wanted: Annotated[At, Query()]) -> TrialBalance:
    """What every account held just before a moment; an agent sees its own."""
    return TrialBalance.model_validate(_trial(visit, wanted.at))


@router.get("/funds", include_in_schema=False)
def funds_page(visit: Everybody) -> Response:
    if visit.agent is not None:
        return _fund_page(visit, visit.agent, Which())
    rows = _funds(visit)
    return visit.show("funds.html", rows=rows, warn_fen=visit.desk.settings.fund_warn_fen)


@router.get("/funds/{agent}", include_in_schema=False)
def fund_page(visit: Everybody, agent: Text, wanted: Annotated[Which, Query()]) -> Response:
    return _fund_page(visit, agent, wanted)


@router.post("/funds/{agent}/top-up", include_in_schema=False)
def top_up_one(visit: ProvenStaff, agent: Text, form: Annotated[TopUpForm, Form()]) -> Response:
    fen = fen_of(form.amount)
    visit.write(lambda tx: operations.top_up_fund(tx, agent, fen, form.reason, visit.actor, once=form.once))
    return visit.go(f"/funds/{agent}", f"已充值 {fen // 100}.{fen % 100:02d} 元")


@router.get("/trial-balance", include_in_schema=False)
def trial_balance_page(visit: Everybody, wanted: Annotated[At, Query()]) -> Response:
    return visit.show("trial-balance.html", seen=_trial(visit, wanted.at), wanted=wanted)


def _fund_page(visit: Visit, agent: str, wanted: Which) -> Response:
    since, until = _days(visit, wanted)
    return visit.show(
        "fund.html",
        fund=_fund(visit, agent),
        seen=_statement(visit, agent, wanted),
        wanted=Which(account=wanted.account, since=since, until=until, cursor=wanted.cursor),
        warn_fen=visit.desk.settings.fund_warn_fen,
        once=secrets.token_urlsafe(16),
    )


def _funds(visit: Visit) -> list[dict[str, Any]]:
    return visit.read(lambda tx: funds_of_all(tx, visit.desk.settings.fund_warn_fen, visit.agent))


def _fund(visit: Visit, agent: str) -> dict[str, Any]:
    """Raises Missing, for another's too."""
    found = (
        []
        if visit.agent not in (None, agent)
        else visit.read(lambda tx: funds_of_all(tx, visit.desk.settings.fund_warn_fen, agent))
    )
    if not found:
        raise Missing("没有这个代理商")
    return found[0]


def _statement(visit: Visit, agent: str, wanted: Which) -> dict[str, Any]:
    since, until = _days(visit, wanted)
    return visit.read(lambda tx: statement(tx, agent, wanted.account, begins(since), ends(until), wanted.cursor))


def _days(visit: Visit, wanted: Which) -> tuple[date, date]:
    return days_of(wanted.since, wanted.until, visit.read(now), DAYS)


def _trial(visit: Visit, moment: datetime | None) -> dict[str, Any]:
    return visit.read(lambda tx: trial_balance(tx, moment or now(tx), visit.agent))
