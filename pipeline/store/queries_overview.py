"""The pipeline at a glance: every number of /overview, by few statements that stay cheap whatever the number of orders.

Each looks at what is under way (live work, purchases without a conclusion, money in flight, open letters and tasks), which
partial indexes hold, or at the end of a table: never at all orders there ever were.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, and_, bindparam, case, func, select, text, type_coerce

from pipeline.ledger import Account
from pipeline.reasons import RULES, Outcome, Replay
from pipeline.states import PurchaseState, outcome_of
from pipeline.store import audit, audit_runs, control, ledger
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import Json, shown
from pipeline.store.queries_desk import list_pauses
from pipeline.store.queries_tasks import open_by_kind
from pipeline.store.tables import attempts, dead_letters, history, orders, purchases, work, workers
from pipeline.store.tables_messages import IS_OPEN
from pipeline.store.types import Instant, from_us, seconds_us, to_us
from pipeline.store.work_keys import PAYING_PAUSED, STAGES

HOURS: Final = 24
HOUR_US: Final = seconds_us(3600)
ENDS_WITHIN_S: Final = (300, 600, 1800)
# Money in flight by age: from that many seconds on.
AGES_S: Final = (0, 300, 1800, 3600, 86_400)
SOON_S: Final = 3600  # work that is due later than that is nobody's concern now
SAMPLE: Final = 4_000  # lines of stories that the rate is read from
RATE_S: Final = 300.0  # and how far back at most
FEW: Final = 3  # orders named for each finding of the audit
SEVERITY_OF: Final = {words.name: words.severity.value for words in audit.WORDS}
STAGE_OF_LINE: Final = {
    "accepted": "intake",
    "credentials_found": "credentials",
    "purchased": "payment",
    "held_unpaid": "payment",
    "paid_abnormal": "payment",
    "settled": "settlement",
    "agent_told": "notification",
}

_moment = bindparam("now", type_=Instant())
_held = and_(work.c.lease_owner.is_not(None), work.c.lease_end >= _moment)
_due = and_(work.c.due_at <= _moment, ~func.coalesce(_held, False))
_work = (
    select(
        work.c.stage,
        func.sum(case((_due, 1), else_=0)).label("due"),
        func.sum(case((_held, 1), else_=0)).label("in_hand"),
        func.count().label("all"),
        func.min(case((_due, work.c.due_at))).label("oldest"),
        func.sum(case((work.c.first_failed_at.is_not(None), 1), else_=0)).label("failing"),
    )
    # What is due is woken within the hour, what is held when its lease ends: the index by `wake_at` holds all of it in front.
    .where(work.c.wake_at <= bindparam("soon", type_=Instant()))
    .group_by(work.c.stage)
)
_recent = select(history.c.what, history.c.at).order_by(history.c.id.desc()).limit(SAMPLE).subquery()
_rates = (
    select(_recent.c.what, func.count().label("n"), func.min(_recent.c.at).label("since"))
    .where(_recent.c.at >= bindparam("since", type_=Instant()))
    .group_by(_recent.c.what)
)
_workers = (
    select(workers.c.stage, func.count().label("n"))
    .where(workers.c.closed_at.is_(None), workers.c.alive_until >= _moment)
    .group_by(workers.c.stage)
)
_is_open = text(f"dead_letters.{IS_OPEN}")  # literal: the predicate of its index
_letters = select(dead_letters.c.stage, func.count().label("n")).where(_is_open).group_by(dead_letters.c.stage)
_ends = func.coalesce(purchases.c.hold_deadline, purchases.c.stop_at)
_holds = (
    select(_ends.label("ends"), func.coalesce(purchases.c.stated_fen, orders.c.fare_fen).label("fen"))
    .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
    .where(
        text("purchases.intent_at IS NULL AND purchases.concluded_at IS NULL"),  # as its index has it
        purchases.c.stop_at <= bindparam("until", type_=Instant()),
    )
    .subquery()
)
_replayable = dead_letters.c.reason.in_(
    sorted(why.value for why, rule in RULES.items() if rule.replay is not Replay.NEVER)
)
_letter_ends = func.coalesce(dead_letters.c.deadline, purchases.c.stop_at)
# One that failed before anybody saw its hold (wrong password, no money) has no deadline; then the request's own end counts.
_letter_holds = (
    select(_letter_ends.label("ends"), func.coalesce(dead_letters.c.amount_fen, 0).label("fen"))
    .select_from(
        dead_letters.outerjoin(
            purchases,
            and_(
                dead_letters.c.deadline.is_(None),
                purchases.c.order_no == dead_letters.c.order_no,
                purchases.c.generation == dead_letters.c.generation,
            ),
        )
    )
    .where(
        _is_open,
        _letter_ends > _moment,
        _letter_ends <= bindparam("until", type_=Instant()),
        dead_letters.c.stage != "notification",
        _replayable,
    )
    .subquery()
)


def _within(source: Any) -> Any:
    """How many end within each of ENDS_WITHIN_S, and their sum."""
    limits = [source.c.ends <= _moment + seconds_us(seconds) for seconds in ENDS_WITHIN_S]
    counts = [func.sum(case((limit, 1), else_=0)) for limit in limits]
    sums = [func.sum(case((limit, source.c.fen), else_=0)) for limit in limits]
    return select(*counts, *sums)


_holds_within, _letters_within = _within(_holds), _within(_letter_holds)
_since = [(attempts.c.submitted_at <= _moment - seconds_us(seconds), seconds) for seconds in reversed(AGES_S[1:])]
_age = case(*_since, else_=AGES_S[0]).label("age_s")
_in_flight = (
    select(_age, purchases.c.state, func.count().label("n"), func.sum(attempts.c.amount_fen).label("fen"))
    .select_from(attempts.join(purchases, purchases.c.id == attempts.c.purchase_id))
    .where(text("attempts.submitted_at IS NOT NULL AND attempts.concluded_at IS NULL"))  # as its index has it
    .group_by(_age, purchases.c.state)
)
_in_flight_of = _in_flight.where(purchases.c.agent == bindparam("agent"))
_hour = (type_coerce(purchases.c.concluded_at, BigInteger()) // HOUR_US).label("hour")
_outcomes = (
    select(_hour, purchases.c.state, func.count().label("n"))
    .where(purchases.c.concluded_at >= bindparam("first", type_=Instant()))
    .group_by(_hour, purchases.c.state)
)


def overview(tx: Transaction) -> Json:
    """All of it at one moment. Amounts in fen, times RFC 3339 in Asia/Shanghai, spans in seconds."""
    moment = now(tx)
    pauses = list_pauses(tx)
    breakers = [
        {
            "upstream": row.upstream,
            "open_since": shown(row.open_since),
            "next_probe_at": shown(row.next_probe_at),
            "detail": row.detail,
        }
        for row in control.open_breakers(tx).values()
    ]
    return {
        "at": shown(moment),
        "paying_paused_since": control.get_meta(tx, PAYING_PAUSED),
        "stages": _stages(tx, moment, pauses),
        "breakers": breakers,
        "pauses": pauses,
        "holds": ending(tx, moment),
        "in_flight": in_flight_by_age(tx, moment),
        "hours": _hours(tx, moment),
        "tasks": open_by_kind(tx),
        "audit": _last_audit(tx),
    }


def work_by_stage(tx: Transaction, moment: datetime) -> dict[str, Row[Any]]:
    """Of each stage that has any: rows `due` that nobody has, `in_hand`, `all` within the hour, the `oldest` due, `failing`."""
    soon = {"now": moment, "soon": moment + timedelta(seconds=SOON_S)}
    return {row.stage: row for row in tx.rows(_work, soon)}


def workers_by_stage(tx: Transaction, moment: datetime) -> dict[str, int]:
    """Workers whose heartbeat is fresh, of each stage that has any."""
    return {row.stage: int(row.n) for row in tx.rows(_workers, {"now": moment})}


def _stages(tx: Transaction, moment: datetime, pauses: list[Json]) -> list[Json]:
    rows, alive = work_by_stage(tx, moment), workers_by_stage(tx, moment)
    letters = {row.stage: int(row.n) for row in tx.rows(_letters)}
    rates = _per_minute(tx, moment)
    paused = {one["name"]: one for one in pauses if one["scope"] == "stage"}
    stages = []
    for stage in STAGES:
        row = rows.get(stage)
        due, in_hand, every = (0, 0, 0) if row is None else (int(row.due), int(row.in_hand), int(row.all))
        oldest = None if row is None or row.oldest is None else from_us(to_us(row.oldest))
        stages.append(
            {
                "stage": stage,
                "due": due,
                "oldest_due_at": shown(oldest),
                "oldest_due_s": None if oldest is None else round((moment - oldest).total_seconds(), 1),
                "in_hand": in_hand,
                "later": every - due - in_hand,
                "failing": 0 if row is None else int(row.failing),
                "per_minute": rates.get(stage, 0.0),
                "dead_letters": letters.get(stage, 0),
                "workers": alive.get(stage, 0),
                "paused": paused.get(stage),
            }
        )
    return stages


def _per_minute(tx: Transaction, moment: datetime) -> dict[str, float]:
    """What each stage finished a minute, over the last five of them, or as far back as the sample of stories goes."""
    rows = tx.rows(_rates, {"since": moment - timedelta(seconds=RATE_S)})
    lines = sum(int(row.n) for row in rows)
    whole = lines < SAMPLE
    seconds = RATE_S if whole else max(1.0, (moment - min(row.since for row in rows)).total_seconds())
    done: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.what in STAGE_OF_LINE:
            done[STAGE_OF_LINE[row.what]] += int(row.n)
    return {stage: round(count * 60 / seconds, 1) for stage, count in done.items()}


def ending(tx: Transaction, moment: datetime) -> list[Json]:
    """Holds that end soon: of purchases that may still be paid, and of dead letters that could still be replayed."""
    given = {"now": moment, "until": moment + timedelta(seconds=max(ENDS_WITHIN_S))}
    purchased, letters = tx.run(_holds_within, given).one(), tx.run(_letters_within, given).one()
    several = len(ENDS_WITHIN_S)
    return [
        {
            "within_s": seconds,
            "purchases": int(purchased[place] or 0),
            "amount_fen": int(purchased[place + several] or 0),
            "dead_letters": int(letters[place] or 0),
            "dead_letters_fen": int(letters[place + several] or 0),
        }
        for place, seconds in enumerate(ENDS_WITHIN_S)
    ]


def in_flight_by_age(tx: Transaction, moment: datetime, agent: str | None = None) -> Json:
    """Money whose fate is open, by how long ago it was submitted; of one agent or all."""
    ages = {
        seconds: {"from_s": seconds, "in_doubt": 0, "in_doubt_fen": 0, "abnormal": 0, "abnormal_fen": 0}
        for seconds in AGES_S
    }
    of_agent = {} if agent is None else {"agent": agent}
    for row in tx.rows(_in_flight_of if of_agent else _in_flight, {"now": moment} | of_agent):
        name = "abnormal" if row.state == PurchaseState.PAID_ABNORMAL else "in_doubt"
        ages[row.age_s][name] += int(row.n)
        ages[row.age_s][f"{name}_fen"] += int(row.fen)
    total = ledger.in_flight_fen(tx) if agent is None else ledger.balances(tx, agent)[Account.IN_FLIGHT]
    return {"total_fen": total, "ages": list(ages.values())}


def _hours(tx: Transaction, moment: datetime) -> list[Json]:
    """How purchases ended in each of the last hours, this one last."""
    this = to_us(moment) // HOUR_US
    first = this - HOURS + 1
    hours: dict[int, Json] = {
        hour: {"hour": shown(from_us(hour * HOUR_US)), **dict.fromkeys(Outcome, 0)} for hour in range(first, this + 1)
    }
    for row in tx.rows(_outcomes, {"first": from_us(first * HOUR_US)}):
        outcome = outcome_of(PurchaseState(row.state))
        if outcome is not None and int(row.hour) in hours:
            hours[int(row.hour)][outcome] += int(row.n)
    return list(hours.values())


def _last_audit(tx: Transaction) -> Json | None:
    run = audit_runs.latest(tx)
    if run is None:
        return None
    names = [str(one["invariant"]) for one in run.broken]
    findings = [
        {
            "invariant": str(one["invariant"]),
            "severity": SEVERITY_OF.get(str(one["invariant"])),
            "several": len(one["orders"]),
            "orders": one["orders"][:FEW],
            "amount_fen": int(one["amount_fen"]),
        }
        for one in run.broken
    ]
    return {
        "at": shown(run.at),
        "ok": run.ok,
        "checked": run.checked,
        "broken": names,
        "findings": findings,
        "took_s": round(run.took_s, 2),
    }
