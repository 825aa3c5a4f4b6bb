"""Tasks: what only a person can finish, taken by one, handed to another, and closed with what was found."""

from __future__ import annotations

from pipeline import operations_recovery
from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.operations_users import Role, actor_of
from pipeline.store import history, tasks, users
from pipeline.store.engine import Row, Transaction
from pipeline.task_kinds import TaskKind, rule_of

MAY_HAVE_TASKS = (Role.OPERATOR, Role.SUPERVISOR)


def take_task(tx: Transaction, task_id: int, actor: str) -> None:
    """This person works on it. Raises NotFound, Refused."""
    task = _find(tx, task_id)
    if not tasks.take(tx, task_id, person(actor)):
        raise Refused("taken", f"任务 {task_id} 已由 {task.taken_by or task.closed_by} 处理")
    history.audit(tx, actor, "tasks.take", str(task_id), order_no=task.order_no)


def hand_over_task(tx: Transaction, task_id: int, to: str, reason: str, actor: str) -> None:
    """Somebody else works on it from now on, whoever had it: an operator or supervisor by name. Raises NotFound, Refused."""
    reason, name = words_of(reason, "reason"), words_of(to, "to").lower()
    task = _find(tx, task_id)
    user = users.by_name(tx, name)
    if user is None or user.disabled_at is not None or user.role not in MAY_HAVE_TASKS:
        raise Refused("no_such_person", f"没有可以处理任务的操作员或主管 {name}")
    if task.taken_by == actor_of(name):
        raise Refused("taken", f"任务 {task_id} 本来就由 {name} 处理")
    if not tasks.hand_over(tx, task_id, task.taken_by, actor_of(name)):
        raise Refused("moved", f"任务 {task_id} 刚被关闭或换了负责人, 请重新查看")
    details = {"before": task.taken_by, "after": actor_of(name), "reason": reason}
    history.audit(tx, person(actor), "tasks.hand_over", str(task_id), order_no=task.order_no, **details)


def close_task(tx: Transaction, task_id: int, resolution: str, evidence: str, actor: str) -> None:
    """It is done. A 支付完成,出票异常 is closed by what was found about its money, a payment in doubt by its outcome, never
    here; a hold that a restore may have forgotten is `paid` or `unpaid`, and its purchase follows. Raises NotFound, Refused."""
    resolution, evidence = words_of(resolution, "resolution"), words_of(evidence, "evidence")
    task = _find(tx, task_id)
    if task.kind == TaskKind.CLOSE_ABNORMAL:
        raise Refused("close_the_order", f"请用 `daifu orders resolve {task.order_no}` 结案")
    if rule_of(task.kind).by_itself:
        raise Refused("closes_by_itself", f"任务 {task_id} 在支付结果查明时自动关闭")
    if not tasks.close(tx, task_id, person(actor), resolution, evidence):
        raise Refused("closed", f"任务 {task_id} 已由 {task.closed_by} 关闭")
    if task.kind == TaskKind.RECOVERED_HOLD:
        operations_recovery.answer(tx, task, resolution, evidence, actor)
    if task.order_no is not None:
        history.tell(tx, task.order_no, "task_closed", actor, kind=task.kind, resolution=resolution)
    history.audit(tx, actor, "tasks.close", str(task_id), resolution=resolution, evidence=evidence)


def _find(tx: Transaction, task_id: int) -> Row[tuple[object, ...]]:
    task = tasks.by_id(tx, task_id)
    if task is None:
        raise NotFound(f"没有任务 {task_id}: 用 `daifu tasks list` 查看")
    return task
