"""Tasks: what only a person can finish, taken by one and closed with what was found."""

from __future__ import annotations

from pipeline import operations_recovery
from pipeline.operations_abnormal import TASK as CLOSE_ABNORMAL
from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.store import history, tasks
from pipeline.store.engine import Row, Transaction
from pipeline.store.recovery import TASK as RECOVERED_HOLD


def take_task(tx: Transaction, task_id: int, actor: str) -> None:
    """This person works on it. Raises NotFound, Refused."""
    task = _find(tx, task_id)
    if not tasks.take(tx, task_id, person(actor)):
        raise Refused("taken", f"任务 {task_id} 已由 {task.taken_by or task.closed_by} 处理")
    history.audit(tx, actor, "tasks.take", str(task_id), order_no=task.order_no)


def close_task(tx: Transaction, task_id: int, resolution: str, evidence: str, actor: str) -> None:
    """It is done. A 支付完成,出票异常 is closed by what was found about its money, never here; a hold that a restore
    may have forgotten is `paid` or `unpaid`, and its purchase follows. Raises NotFound, Refused."""
    resolution, evidence = words_of(resolution, "resolution"), words_of(evidence, "evidence")
    task = _find(tx, task_id)
    if task.kind == CLOSE_ABNORMAL:
        raise Refused("close_the_order", f"请用 `daifu orders resolve {task.order_no}` 结案")
    if not tasks.close(tx, task_id, person(actor), resolution, evidence):
        raise Refused("closed", f"任务 {task_id} 已由 {task.closed_by} 关闭")
    if task.kind == RECOVERED_HOLD:
        operations_recovery.answer(tx, task, resolution, evidence, actor)
    history.tell(tx, task.order_no, "task_closed", actor, kind=task.kind, resolution=resolution)
    history.audit(tx, actor, "tasks.close", str(task_id), resolution=resolution, evidence=evidence)


def _find(tx: Transaction, task_id: int) -> Row[tuple[object, ...]]:
    task = tasks.by_id(tx, task_id)
    if task is None:
        raise NotFound(f"没有任务 {task_id}: 用 `daifu tasks list` 查看")
    return task
