"""What the relay serves as metrics of the whole installation (`pipeline.metric_families`), read in one go.

As the overview, it looks at what is under way and at the end of what is done, by indexes: never at all there ever was.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, bindparam, case, func, select, text, type_coerce

from pipeline.metric_families import END_TO_END_BUCKETS, Ended, Values
from pipeline.states import PurchaseState, outcome_of
from pipeline.store import audit_runs, control, dead_letters, ledger, wakes
from pipeline.store.audit import CHECKED
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.queries_overview import ending, in_flight_by_age, work_by_stage, workers_by_stage
from pipeline.store.queries_tasks import open_by_kind
from pipeline.store.tables import attempts, ledger_balances, purchases, results, work
from pipeline.store.types import Instant, from_us, seconds_us, to_us
from pipeline.store.work_keys import PAYING_PAUSED, STAGES
from pipeline.task_kinds import TaskKind

UPSTREAMS: Final = ("railway", "cashier")
SCOPES: Final = ("stage", "agent", "account")
MOST_AGENTS: Final = 200
# A purchase is counted when it was concluded so long ago that no transaction that concluded earlier is still uncommitted.
SETTLED_S: Final = 10.0

_in_doubt = (
    select(func.count().label("n"), func.min(attempts.c.submitted_at).label("oldest"))
    .select_from(attempts.join(purchases, purchases.c.id == attempts.c.purchase_id))
    .where(
        text("attempts.submitted_at IS NOT NULL AND attempts.concluded_at IS NULL"),  # as its index has it
        purchases.c.state.in_((PurchaseState.PAYING.value, PurchaseState.IN_DOUBT.value)),
    )
)
_procurement = (
    select(ledger_balances.c.agent, ledger_balances.c.balance_fen)
    .where(ledger_balances.c.account == "procurement")
    .order_by(ledger_balances.c.balance_fen, ledger_balances.c.agent)
    .limit(MOST_AGENTS)
)
_waiting = select(func.count()).select_from(work).where(text("work.waits_for IS NOT NULL"))
_unsent = select(func.count()).select_from(results).where(text("results.sent_at IS NULL"))
_took = type_coerce(purchases.c.concluded_at, BigInteger()) - type_coerce(purchases.c.requested_at, BigInteger())
_place = case(
    *((_took <= seconds_us(bound), place) for place, bound in enumerate(END_TO_END_BUCKETS)),
    else_=len(END_TO_END_BUCKETS),
).label("place")
_ended = (
    select(
        purchases.c.state,
        purchases.c.reason,
        _place,
        func.count().label("n"),
        func.sum(_took).label("took_us"),
    )
    .where(
        purchases.c.concluded_at > bindparam("after", type_=Instant()),
        purchases.c.concluded_at <= bindparam("until", type_=Instant()),
    )
    .group_by(purchases.c.state, purchases.c.reason, _place)
)


def read_state(tx: Transaction) -> dict[str, Values]:
    """Every gauge of the relay but the broker's: value by labels, by metric. Amounts in fen, spans in seconds."""
    moment = now(tx)
    values: dict[str, Values] = {}
    for part in _PARTS:
        values |= part(tx, moment)
    return values


def read_ended(tx: Transaction, after: datetime | None) -> tuple[list[Ended], datetime]:
    """Purchases concluded since `after`, and up to when; the next reading begins there. The first (None) only learns that time."""
    until = now(tx) - timedelta(seconds=SETTLED_S)
    if after is None:
        return [], until
    found = []
    for row in tx.rows(_ended, {"after": after, "until": until}):
        outcome = outcome_of(PurchaseState(row.state))
        if outcome is not None:
            found.append(Ended(outcome.value, row.reason or "", int(row.place), int(row.n), int(row.took_us) / 1e6))
    return found, until


def _money(tx: Transaction, moment: datetime) -> dict[str, Values]:
    seen = in_flight_by_age(tx, moment)
    ages: dict[tuple[str, ...], float] = {}
    for age in seen["ages"]:
        for state in ("in_doubt", "abnormal"):
            ages[str(age["from_s"]), state] = age[f"{state}_fen"]
    doubt = tx.run(_in_doubt).one()
    return {
        "daifu_in_flight_fen": {(): seen["total_fen"]},
        "daifu_in_flight_age_fen": ages,
        "daifu_in_doubt": {(): int(doubt.n)},
        "daifu_in_doubt_oldest_seconds": {(): _ago(doubt.oldest, moment)},
        "daifu_funds_missing_fen": {(): ledger.missing_fen(tx)},
        "daifu_procurement_fen": {(row.agent,): int(row.balance_fen) for row in tx.rows(_procurement)},
    }


def _deadlines(tx: Transaction, moment: datetime) -> dict[str, Values]:
    counts: dict[tuple[str, ...], float] = {}
    sums: dict[tuple[str, ...], float] = {}
    for one in ending(tx, moment):
        within = str(one["within_s"])
        counts[within, "purchase"], sums[within, "purchase"] = one["purchases"], one["amount_fen"]
        counts[within, "dead_letter"], sums[within, "dead_letter"] = one["dead_letters"], one["dead_letters_fen"]
    return {"daifu_holds_expiring": counts, "daifu_holds_expiring_fen": sums}


def _people(tx: Transaction, _moment: datetime) -> dict[str, Values]:
    scopes = [row.scope for row in control.all_pauses(tx)]
    tasks = {one["kind"]: one["tasks"] for one in open_by_kind(tx)}
    return {
        "daifu_dead_letters_open": {(stage, why): count for stage, why, count in dead_letters.count_open(tx)},
        "daifu_tasks_open": {(kind.value,): tasks.get(kind.value, 0) for kind in TaskKind},
        "daifu_pauses": {(scope,): scopes.count(scope) for scope in SCOPES},
        "daifu_paying_paused": {(): float(control.get_meta(tx, PAYING_PAUSED) is not None)},
    }


def _breakers(tx: Transaction, moment: datetime) -> dict[str, Values]:
    opened = control.open_breakers(tx)
    return {
        "daifu_breaker_open": {(name,): float(name in opened) for name in UPSTREAMS},
        "daifu_breaker_open_seconds": {
            (name,): _ago(opened[name].open_since if name in opened else None, moment) for name in UPSTREAMS
        },
    }


def _stages(tx: Transaction, moment: datetime) -> dict[str, Values]:
    rows, alive = work_by_stage(tx, moment), workers_by_stage(tx, moment)
    of = {stage: rows.get(stage) for stage in STAGES}
    return {
        "daifu_work_due": {(stage,): 0 if row is None else int(row.due) for stage, row in of.items()},
        "daifu_work_in_hand": {(stage,): 0 if row is None else int(row.in_hand) for stage, row in of.items()},
        "daifu_work_failing": {(stage,): 0 if row is None else int(row.failing) for stage, row in of.items()},
        "daifu_work_oldest_due_seconds": {
            (stage,): _ago(None if row is None or row.oldest is None else from_us(to_us(row.oldest)), moment)
            for stage, row in of.items()
        },
        "daifu_workers_alive": {(stage,): alive.get(stage, 0) for stage in STAGES},
        "daifu_waiting_for_account": {(): int(tx.run(_waiting).scalar_one())},
        "daifu_results_unsent": {(): int(tx.run(_unsent).scalar_one())},
        "daifu_relay_lag_seconds": {(): _ago(wakes.oldest_due(tx), moment)},
    }


def _audit(tx: Transaction, _moment: datetime) -> dict[str, Values]:
    run = audit_runs.latest(tx)
    if run is None:
        return {}
    found = {broken["invariant"]: len(broken["subjects"]) for broken in run.broken}
    return {
        "daifu_audit_broken": {(name,): found.get(name, 0) for name in {*CHECKED, *found}},
        "daifu_audit_last_run_timestamp_seconds": {(): run.at.timestamp()},
    }


def _ago(since: datetime | None, moment: datetime) -> float:
    """Seconds; 0 where there is nothing."""
    return 0.0 if since is None else max(0.0, (moment - since).total_seconds())


_PARTS: Final[tuple[Callable[[Transaction, datetime], dict[str, Values]], ...]] = (
    _money,
    _deadlines,
    _people,
    _breakers,
    _stages,
    _audit,
)
