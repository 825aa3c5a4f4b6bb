"""Jobs that replay dead letters as people watch them: progress, each dead letter's result, what failed again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, bindparam, case, exists, func, or_, select

from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import dead_letters, orders, purchases, replay_items, replay_jobs
from pipeline.store.types import SECOND_US

_i, _d = replay_items.c, dead_letters.c
_newer = dead_letters.alias("newer")
# It lies here again: the same message came again, or the same order's work stopped again after this replay.
_again = and_(
    _i.result == "replay",
    or_(
        and_(_d.state == "open", _d.last_at > _i.at),
        exists().where(
            _newer.c.order_no == _d.order_no,
            _newer.c.id > _d.id,
            _newer.c.first_at >= _i.at,
            (_newer.c.stage == "notification") == (_d.stage == "notification"),
        ),
    ),
)
_counts = (
    select(
        _i.job_id,
        func.sum(case((_i.state == "unchecked", 0), else_=1)).label("checked"),
        func.sum(case((_i.plan == "replay", 1), else_=0)).label("eligible"),
        func.sum(case((_i.plan == "refused", 1), else_=0)).label("ineligible"),
        func.sum(case((_i.state == "waiting", 1), else_=0)).label("waiting"),
        func.sum(case((_i.state == "left", 1), else_=0)).label("left_alone"),
        func.sum(case((_i.result == "replay", 1), else_=0)).label("replayed"),
        func.sum(case((_i.result == "refused", 1), else_=0)).label("refused"),
        func.sum(case((_i.result == "failed", 1), else_=0)).label("failed"),
    )
    .where(_i.job_id.in_(bindparam("jobs", expanding=True)))
    .group_by(_i.job_id)
)
_with_letter = replay_items.join(dead_letters, _d.id == _i.letter_id)
_failed_again = select(func.count()).select_from(_with_letter).where(_i.job_id == bindparam("j"), _again)
_sums = (
    select(func.coalesce(func.sum(_d.amount_fen), 0))
    .select_from(_with_letter)
    .where(_i.job_id == bindparam("j"), _i.plan == "replay")
)
_told = select(
    func.count().label("n"), func.min(_i.told_at).label("first_at"), func.max(_i.told_at).label("last_at")
).where(_i.job_id == bindparam("j"), _i.plan == "replay", _i.told_at.is_not(None))
_whys = (
    select(_i.plan_why.label("why"), func.count().label("n"))
    .where(_i.job_id == bindparam("j"), _i.plan == "refused")
    .group_by(_i.plan_why)
    .order_by(func.count().desc(), _i.plan_why)
    .limit(20)
)
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_items = select(
    _i.place, _i.letter_id, _i.state, _i.plan, _i.plan_why, _i.told_at, _i.result, _i.why, _i.at,
    _d.order_no, _d.stage, _d.reason, _d.agent, _d.amount_fen, _d.deadline,
    orders.c.generation, purchases.c.state.label("purchase_state"), _again.label("failed_again"),
).select_from(
    _with_letter.outerjoin(orders, orders.c.order_no == _d.order_no).outerjoin(purchases, _latest)
)  # fmt: skip
_SHOWN = {
    "replay": _i.result == "replay",
    "refused": or_(_i.result == "refused", and_(_i.state == "checked", _i.plan == "refused")),
    "failed": _i.result == "failed",
    "failed_again": _again,
    "waiting": _i.state == "waiting",
    "left": _i.state == "left",
}
RESULTS = tuple(_SHOWN)


def page_of_jobs(tx: Transaction, cursor: str | None = None, limit: int = PAGE) -> Page:
    """The newest first. Raises BadCursor."""
    rows, following = fetch(tx, select(replay_jobs), [replay_jobs.c.id], cursor, limit)
    return Page(_jobs(tx, rows), following)


def job(tx: Transaction, job_id: int) -> Json | None:
    """One job with its progress, what its dry run found, and how many failed again. None: there is none."""
    row = tx.one(select(replay_jobs).where(replay_jobs.c.id == job_id))
    if row is None:
        return None
    (found,) = _jobs(tx, [row])
    told = tx.run(_told, {"j": job_id}).one()
    return found | {
        "failed_again": int(tx.run(_failed_again, {"j": job_id}).scalar_one()),
        "eligible_fen": int(tx.run(_sums, {"j": job_id}).scalar_one()),
        "told": int(told.n),
        "told_first_at": shown(told.first_at),
        "told_last_at": shown(told.last_at),
        "refusals": [{"why": row.why, "letters": int(row.n)} for row in tx.rows(_whys, {"j": job_id})],
    }


def page_of_items(
    tx: Transaction, job_id: int, result: str | None = None, cursor: str | None = None, limit: int = PAGE
) -> Page:
    """A job's dead letters in its order, those of one result of RESULTS where it is named. Raises BadCursor."""
    query: Select[Any] = _items.where(_i.job_id == job_id)
    if result is not None:
        query = query.where(_SHOWN[result])
    rows, following = fetch(tx, query, [_i.place], cursor, limit, descending=False)
    return Page([_item(row) for row in rows], following)


def jobs_of_letter(tx: Transaction, letter_id: int) -> list[Json]:
    """The jobs that this dead letter was or is in, the newest first."""
    query = _items.add_columns(_i.job_id).where(_i.letter_id == letter_id).order_by(_i.job_id.desc()).limit(20)
    return [_item(row) | {"job": row.job_id} for row in tx.rows(query)]


def _jobs(tx: Transaction, rows: list[Row[Any]]) -> list[Json]:
    counts = {row.job_id: row for row in tx.rows(_counts, {"jobs": [row.id for row in rows]})}
    return [_job(row, counts.get(row.id)) for row in rows]


def _job(row: Row[Any], counts: Row[Any] | None) -> Json:
    names = ("checked", "eligible", "ineligible", "waiting", "left_alone", "replayed", "refused", "failed")
    return {
        "id": row.id,
        "state": row.state,
        "chosen": row.chosen,
        "total": row.total,
        **{name: 0 if counts is None else int(getattr(counts, name)) for name in names},
        "rate": None if row.every_us is None else SECOND_US / row.every_us,
        "agreed": row.agreed,
        "made_at": shown(row.made_at),
        "made_by": row.made_by,
        "started_at": shown(row.started_at),
        "started_by": row.started_by,
        "ended_at": shown(row.ended_at),
        "stopped_by": row.stopped_by,
    }


def _item(row: Row[Any]) -> Json:
    return {
        "id": row.letter_id,
        "order_no": row.order_no,
        "agent": row.agent,
        "stage": row.stage,
        "reason": row.reason,
        "amount_fen": row.amount_fen,
        "deadline": shown(row.deadline),
        "state": row.state,
        "plan": row.plan,
        "plan_why": row.plan_why,
        "told_at": shown(row.told_at),
        "result": row.result,
        "why": row.why,
        "at": shown(row.at),
        "generation": row.generation,
        "purchase_state": row.purchase_state,
        "failed_again": bool(row.failed_again),
    }
