"""`daifu tasks`."""

from __future__ import annotations

import click

from pipeline import operations
from pipeline.cli.context import acting, query, write
from pipeline.cli.output import as_json, emit, table
from pipeline.store.queries_desk import list_tasks

COLUMNS = ("id", "kind", "order_no", "reason", "opened_at", "taken_by", "closed_by", "resolution")


@click.group()
def tasks() -> None:
    """What only a person can finish."""


@tasks.command("list")
@click.option("--all", "all_", is_flag=True, help="Closed ones too.")
@as_json
def list_(*, all_: bool, json_: bool) -> None:
    """Open tasks, oldest first."""
    rows = query(lambda tx: list_tasks(tx, open_only=not all_))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@tasks.command("take")
@click.argument("task_id", metavar="ID", type=int)
@as_json
@acting
def take(task_id: int, *, json_: bool, actor: str) -> None:
    """Say that you work on it."""
    write(lambda tx: operations.take_task(tx, task_id, actor))
    emit({"id": task_id, "taken_by": actor}, json_=json_, human=lambda: f"task {task_id}: taken by {actor}")


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
