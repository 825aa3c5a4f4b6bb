"""`daifu tasks`."""

from __future__ import annotations

import click

from pipeline import operations
from pipeline.cli.context import acting, query, write
from pipeline.cli.output import as_json, emit, table, yuan
from pipeline.store.queries_tasks import NOBODY, TaskFilter, list_tasks
from pipeline.task_kinds import TaskKind

COLUMNS = (
    "id",
    "words",
    "order_no",
    "agent",
    "amount",
    "opened_at",
    "taken_by",
    "next_step",
    "closed_by",
    "resolution",
)


@click.group()
def tasks() -> None:
    """What only a person can finish."""


@tasks.command("list")
@click.option("--all", "all_", is_flag=True, help="Closed ones too.")
@click.option("--kind", type=click.Choice([kind.value for kind in TaskKind]), help="Only of this kind.")
@click.option("--free", is_flag=True, help="Only those that nobody has taken.")
@as_json
def list_(*, all_: bool, kind: str | None, free: bool, json_: bool) -> None:
    """Open tasks, oldest first: whose they are, how much is at stake, what to do next."""
    wanted = TaskFilter("all" if all_ else "open", kind, NOBODY if free else None)
    rows = query(lambda tx: list_tasks(tx, wanted))
    shown = [{**row, "amount": yuan(row["amount_fen"])} for row in rows]
    emit(rows, json_=json_, human=lambda: table(shown, COLUMNS))


@tasks.command("take")
@click.argument("task_id", metavar="ID", type=int)
@as_json
@acting
def take(task_id: int, *, json_: bool, actor: str) -> None:
    """Say that you work on it."""
    write(lambda tx: operations.take_task(tx, task_id, actor))
    emit({"id": task_id, "taken_by": actor}, json_=json_, human=lambda: f"task {task_id}: taken by {actor}")


@tasks.command("hand-over")
@click.argument("task_id", metavar="ID", type=int)
@click.option("--to", required=True, metavar="NAME", help="An operator or supervisor of the console.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the audit log.")
@as_json
@acting
def hand_over(task_id: int, to: str, reason: str, *, json_: bool, actor: str) -> None:
    """Somebody else works on it from now on."""
    write(lambda tx: operations.hand_over_task(tx, task_id, to, reason, actor))
    shown = {"id": task_id, "taken_by": f"human:{to.strip().lower()}"}
    emit(shown, json_=json_, human=lambda: f"task {task_id}: handed over to {to}")


@tasks.command("close")
@click.argument("task_id", metavar="ID", type=int)
@click.option("--resolution", required=True, metavar="TEXT", help="What was done.")
@click.option("--evidence", required=True, metavar="TEXT", help="What proves it.")
@as_json
@acting
def close(task_id: int, resolution: str, evidence: str, *, json_: bool, actor: str) -> None:
    """Close it; a 支付完成,出票异常 is closed with `daifu orders resolve`."""
    write(lambda tx: operations.close_task(tx, task_id, resolution, evidence, actor))
    emit({"id": task_id, "closed_by": actor}, json_=json_, human=lambda: f"task {task_id}: closed by {actor}")
