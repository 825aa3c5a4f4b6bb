"""Replaying many dead letters: chosen, tried dry, started by a person, made one by one at a rate, stopped half way.

A job is rows (`pipeline.store.replay_jobs`): whoever runs jobs (`pipeline.replay_runner`) may die at any time, and each replay
is one transaction with what it writes beside it, so that none is made twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline import operations_replay
from pipeline.errors import DaifuError
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.operations_import import Rules
from pipeline.store import history, replay_jobs
from pipeline.store.engine import Presence, Row, StoreUnavailable, Transaction
from pipeline.store.queries import shown
from pipeline.store.queries_letters import LetterFilter
from pipeline.store.types import SECOND_US

FASTEST = 100.0  # replays per second
SLOWEST = 1 / 60
USUAL = 5.0
CHECKS_AT_ONCE = 20  # a transaction of a few tens of milliseconds: on SQLite everybody else waits for it
MOST_NAMED = 1_000  # dead letters named one by one


class ItemFailed(DaifuError):
    """A defect stopped the replay of one dead letter; its transaction is undone."""

    def __init__(self, job_id: int, place: int, error: Exception) -> None:
        super().__init__(f"job {job_id}, place {place}: {type(error).__name__}")
        self.job_id, self.place, self.why = job_id, place, type(error).__name__


def make_job(tx: Transaction, actor: str, wanted: LetterFilter | None = None, ids: Sequence[int] = ()) -> int:
    """A job over all that the filter finds, or over the dead letters named; its dry run follows. Returns its id.

    Raises Refused where nothing was chosen.
    """
    person(actor)
    if (wanted is None) == (not ids):
        raise Refused("nothing_chosen", "没有选择死信")
    if len(ids) > MOST_NAMED:
        raise Refused("too_many", f"一次最多选择 {MOST_NAMED} 条, 更多请按条件重放")
    chosen = {"ids": len(set(ids))} if wanted is None else _in_words(wanted)
    job_id, total = replay_jobs.make(tx, actor, chosen, wanted, sorted(set(ids)))
    if not total:
        raise Refused("nothing_chosen", "没有符合条件的死信")
    return job_id


def _in_words(wanted: LetterFilter) -> dict[str, Any]:
    named = {name: shown(value) if hasattr(value, "tzinfo") else value for name, value in asdict(wanted).items()}
    return {name: value for name, value in named.items() if value}


def check_some(tx: Transaction, job_id: int, rules: Rules, most: int) -> bool:
    """A part of the dry run. False: it is over, nothing is left to check."""
    rows = replay_jobs.unchecked(tx, job_id, most)
    for row in rows:
        plan = operations_replay.would_replay(tx, operations_replay.find_letter(tx, row.letter_id), rules)
        result = "replay" if plan.result == "replay" else "refused"
        replay_jobs.checked(tx, job_id, row.place, result, plan.why, plan.told_at)
    if len(rows) < most:
        replay_jobs.all_checked(tx, job_id)
        return False
    return True


def start_job(tx: Transaction, job_id: int, actor: str, rate: float, agreed: str | None = None) -> int:
    """Begin to replay what the dry run let through, `rate` a second; how many wait.

    `agreed`: who of the agent agreed, and when; needed where payStatus 2 was delivered. Raises NotFound, Refused.
    """
    person(actor)
    job = _find(tx, job_id)
    if not SLOWEST <= rate <= FASTEST:
        raise Refused("bad_rate", f"速率须在每分钟 1 条到每秒 {FASTEST:.0f} 条之间")
    agreed = (agreed or "").strip() or None
    told, first_at = replay_jobs.told(tx, job_id)
    if told and agreed is None and job.state == "checked":
        words = f"其中 {told} 条已通知代理商“占座成功未支付” (最早 {shown(first_at)}): 需先取得并记录代理商的同意"
        raise Refused("agreement_missing", words)
    waits = replay_jobs.start(tx, job_id, replay_jobs.Start(actor, tx.presence, agreed, round(SECOND_US / rate)))
    if waits is None:
        raise Refused("not_checked", "试算还没有完成" if job.state == "checking" else "这个任务已经开始过")
    if not waits:
        raise Refused("nothing_to_do", "没有可以重放的死信")
    history.audit(tx, actor, "dead_letters.start_job", str(job_id), letters=waits, rate=rate, agreed=agreed)
    return waits


def stop_job(tx: Transaction, job_id: int, actor: str) -> None:
    """What has not been replayed yet is left alone. Raises NotFound, Refused."""
    person(actor)
    job = _find(tx, job_id)
    if job.state not in ("checking", "checked", "running") or not replay_jobs.end(
        tx, job_id, job.state, "stopped", actor
    ):
        raise Refused("over", "这个任务已经结束")
    history.audit(tx, actor, "dead_letters.stop_job", str(job_id))


def step(tx: Transaction, job_id: int, rules: Rules) -> bool:
    """Make the job's next replay if one is due. False: none is, or somebody else made it.

    Raises ItemFailed for a defect: see `give_up`.
    """
    if not replay_jobs.take_turn(tx, job_id):
        return False
    turn = replay_jobs.next_waiting(tx, job_id)
    if turn is None:
        replay_jobs.end(tx, job_id, "running", "done", None)
        return False
    job = _find(tx, job_id)
    tx.presence = None if job.role is None else Presence(job.role, job.origin or "")
    try:
        result = operations_replay.replay(
            tx, turn.letter_id, job.started_by, rules, agreed=job.agreed, needs_agreement=True, job=job_id
        )
    except StoreUnavailable:
        raise
    except Exception as error:
        raise ItemFailed(job_id, turn.place, error) from error
    replay_jobs.done(tx, job_id, turn.place, "replay" if result.result == "replayed" else "refused", result.why)
    if replay_jobs.next_waiting(tx, job_id) is None:
        replay_jobs.end(tx, job_id, "running", "done", None)
    return True


def give_up(tx: Transaction, failed: ItemFailed) -> None:
    """The dead letter is as it was; the job goes on with the next."""
    replay_jobs.done(tx, failed.job_id, failed.place, "failed", f"程序错误 {failed.why}, 这一条没有改变")


def _find(tx: Transaction, job_id: int) -> Row[Any]:
    job = replay_jobs.by_id(tx, job_id)
    if job is None:
        raise NotFound(f"没有重放任务 {job_id}")
    return job
