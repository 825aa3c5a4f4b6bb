"""`daifu recover`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from pipeline import operations
from pipeline.cli.context import Moment, acting, query, write
from pipeline.cli.output import as_json, emit, table
from pipeline.operations import Recovery


@click.command()
@click.option("--since", type=Moment(), help="When the backup was made: pause paying, list every hold to ask about.")
@click.option("--finish", is_flag=True, help="Pay again; refused while a hold has not been asked about.")
@as_json
@acting
def recover(since: datetime | None, *, finish: bool, json_: bool, actor: str) -> None:
    """After a restore: nothing is paid until every hold since the backup was asked about. Without options: how it stands.

    Each hold is a task: look at 12306 and the cashier, then `daifu tasks close ID --evidence TEXT --resolution paid` (its
    purchase becomes 支付完成,出票异常) or `--resolution unpaid` (it goes on, or ends).
    """
    if since is not None and finish:
        raise click.UsageError("give either --since TIME or --finish")
    if since is not None:
        state = write(lambda tx: operations.recover(tx, since, actor))
    elif finish:
        state = write(lambda tx: operations.finish_recovery(tx, actor))
    else:
        state = query(operations.recovery)
    shown = _shown(state)
    emit(shown, json_=json_, human=lambda: _human(shown))


def _shown(state: Recovery) -> dict[str, Any]:
    holds = [{"task": task, "order_no": order_no, "reason": reason} for task, order_no, reason in state.open_tasks]
    return {"paying_paused_since": state.paying_paused_since, "restored_at": state.restored_at, "holds": holds}


def _human(shown: dict[str, Any]) -> str:
    if shown["paying_paused_since"] is None:
        return "paying is not paused by a recovery"
    head = f"paying is paused: restored from {shown['paying_paused_since']}; to ask about:"
    return f"{head}\n{table(shown['holds'], ('task', 'order_no', 'reason'))}"
