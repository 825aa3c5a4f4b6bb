"""Replays of many dead letters as rows: what a job holds, whose turn it is, how each ended. Every write is guarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Text, bindparam, case, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.store.engine import Presence, Transaction
from pipeline.store.queries_letters import LetterFilter, chosen_letters
from pipeline.store.tables import replay_items, replay_jobs
from pipeline.store.types import SECOND_US, Instant, db_now

CATCH_UP_US: Final = SECOND_US  # after a longer break the rate starts anew: no burst makes up for it
START_TRIES = 5
ELSEWHERE = "已在另一个重放任务中等待"
_i, _j = replay_items.c, replay_jobs.c
_other = replay_items.alias("other")
_of_job = _i.job_id == bindparam("j")
_item = _of_job & (_i.place == bindparam("p"))
# Literal states: both planners match them with the partial indexes.
_is_unchecked, _is_waiting = (
    _i.state == literal(state, Text(), literal_execute=True) for state in ("unchecked", "waiting")
)
_live = select(replay_jobs).where(_j.state.in_(("checking", "running"))).order_by(_j.id)
_unchecked = select(_i.place, _i.letter_id).where(_of_job, _is_unchecked).order_by(_i.place).limit(bindparam("most"))
_waiting = select(_i.place, _i.letter_id).where(_of_job, _is_waiting).order_by(_i.place).limit(1)
_checked = (
    update(replay_items)
    .where(_item, _i.state == "unchecked")
    .values(
        state="checked",
        plan=bindparam("plan_"),
        plan_why=bindparam("why_"),
        told_at=bindparam("told_", type_=Instant()),
    )
)
_done = (
    update(replay_items)
    .where(_item, _i.state == "waiting")
    .values(state="done", result=bindparam("result_"), why=bindparam("why_"), at=db_now())
)
_start_items = update(replay_items).where(_of_job, _i.state == "checked", _i.plan == "replay")
_leave_elsewhere = _start_items.where(
    _i.letter_id.in_(select(_other.c.letter_id).where(_other.c.state == "waiting"))
).values(state="left", why=ELSEWHERE)
_wait = _start_items.values(state="waiting")
_leave = update(replay_items).where(_of_job, _i.state == "waiting").values(state="left")
_move = (
    update(replay_jobs).where(_j.id == bindparam("j"), _j.state == bindparam("was")).values(state=bindparam("becomes"))
)
_start = _move.values(
    started_at=db_now(),
    next_at=db_now(),
    started_by=bindparam("who"),
    role=bindparam("role_"),
    origin=bindparam("origin_"),
    agreed=bindparam("agreed_"),
    every_us=bindparam("every"),
)
_end = _move.values(ended_at=db_now(), stopped_by=bindparam("who"))
_turn = (
    update(replay_jobs)
    .where(_j.id == bindparam("j"), _j.state == "running", _j.next_at <= db_now())
    .values(next_at=case((_j.next_at < db_now() - CATCH_UP_US, db_now() + _j.every_us), else_=_j.next_at + _j.every_us))
)
_told = select(func.count().label("n"), func.min(_i.told_at).label("first_at")).where(
    _of_job, _i.plan == "replay", _i.told_at.is_not(None)
)


@dataclass(frozen=True, slots=True)
class Start:
    """How a job runs: `every_us` between two replays; `agreed`: who of the agent agreed, and when, in the actor's words."""

    actor: str
    presence: Presence | None
    agreed: str | None
    every_us: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The next dead letter of a running job."""

    place: int
    letter_id: int


def make(
    tx: Transaction, actor: str, chosen: dict[str, Any], wanted: LetterFilter | None, ids: Sequence[int]
) -> tuple[int, int]:
    """A job over what was chosen, nothing checked yet: (its id, how many)."""
    values = {"made_at": db_now(), "made_by": actor, "chosen": chosen, "state": "checking", "total": 0}
    job_id = int(tx.run(insert(replay_jobs).values(values).returning(_j.id)).scalar_one())
    rows = chosen_letters(wanted, ids).subquery()
    items = select(literal(job_id), rows.c.place, rows.c.id, literal("unchecked"))
    copied = insert(replay_items).from_select(["job_id", "place", "letter_id", "state"], items)
    total = tx.moved(
        copied.execution_options(preserve_rowcount=True)
    )  # else psycopg's count of an INSERT is let go of: -1
    tx.run(update(replay_jobs).where(_j.id == job_id).values(total=total))
    return job_id, total


def by_id(tx: Transaction, job_id: int) -> Row[Any] | None:
    return tx.one(select(replay_jobs).where(_j.id == job_id))


def live(tx: Transaction) -> list[Row[Any]]:
    """Jobs that have something to do, the oldest first."""
    return tx.rows(_live)


def unchecked(tx: Transaction, job_id: int, most: int) -> list[Row[Any]]:
    return tx.rows(_unchecked, {"j": job_id, "most": most})


def checked(tx: Transaction, job_id: int, place: int, plan: str, why: str, told_at: datetime | None) -> None:
    """What a replay of this one would do: `replay` or `refused`."""
    tx.run(_checked, {"j": job_id, "p": place, "plan_": plan, "why_": why, "told_": told_at})


def all_checked(tx: Transaction, job_id: int) -> bool:
    """The dry run is over. False: somebody else said so, or stopped it."""
    return tx.moved(_move, {"j": job_id, "was": "checking", "becomes": "checked"}) > 0


def told(tx: Transaction, job_id: int) -> tuple[int, datetime | None]:
    """How many of what would be replayed the agent was told as unpaid, and the first such moment."""
    row = tx.run(_told, {"j": job_id}).one()
    return int(row.n), row.first_at


def start(tx: Transaction, job_id: int, how: Start) -> int | None:
    """What the dry run lets through waits for its turn: how many. None: the job is not one that can be started."""
    given = {
        "j": job_id,
        "was": "checked",
        "becomes": "running",
        "who": how.actor,
        "role_": None if how.presence is None else how.presence.role,
        "origin_": None if how.presence is None else how.presence.origin,
        "agreed_": how.agreed,
        "every": how.every_us,
    }
    if not tx.moved(_start, given):
        return None
    for tries_left in reversed(range(START_TRIES)):
        tx.run(_leave_elsewhere, {"j": job_id})
        try:
            with tx.savepoint():
                return tx.moved(_wait, {"j": job_id})
        except IntegrityError:  # another job got one of them at this moment: now it is seen, and left to that one
            if not tries_left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def take_turn(tx: Transaction, job_id: int) -> bool:
    """Whether a replay of this job is due and ours to make: the rate holds however many processes run jobs."""
    return tx.moved(_turn, {"j": job_id}) > 0


def next_waiting(tx: Transaction, job_id: int) -> Turn | None:
    row = tx.one(_waiting, {"j": job_id})
    return None if row is None else Turn(int(row.place), int(row.letter_id))


def done(tx: Transaction, job_id: int, place: int, result: str, why: str) -> bool:
    """How it ended: `replay`, `refused` or `failed`. False: it waits no more."""
    return tx.moved(_done, {"j": job_id, "p": place, "result_": result, "why_": why}) > 0


def end(tx: Transaction, job_id: int, was: str, becomes: str, stopped_by: str | None) -> bool:
    """The job is over; what still waits is left alone. False: it was not in that state."""
    given = {"j": job_id, "was": was, "becomes": becomes, "who": stopped_by}
    if not tx.moved(_end, given):
        return False
    tx.run(_leave, {"j": job_id})
    return True


__all__ = [
    "ELSEWHERE",
    "Start",
    "Turn",
    "all_checked",
    "by_id",
    "checked",
    "done",
    "end",
    "live",
    "make",
    "next_waiting",
    "start",
    "take_turn",
    "told",
    "unchecked",
]
