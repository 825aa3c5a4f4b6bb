"""`daifu callbacks`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from pipeline import operations
from pipeline.callback_form import CALL_TIMEOUT_S
from pipeline.cli.context import (
    acting,
    callback_nets,
    http_allowed,
    one_by_one,
    opened,
    query,
    read_settings,
    write,
    write_in,
)
from pipeline.cli.output import as_json, emit, fields, table
from pipeline.operations_callback_trial import Verdict, load_callee, record_trial, try_callback
from pipeline.operations_errors import Refused
from pipeline.outbound import HttpAgentCaller
from pipeline.store.engine import Store
from pipeline.vault import KeyRing

MEANINGS: Mapping[Verdict, str] = {
    Verdict.TAKEN: "the address works",
    Verdict.ANSWERED_FALSE: "the address works: ret false is what many clients say to an order number that they do not know,"
    " or to a signature that does not fit their merchant key",
    Verdict.NOT_AS_AGREED: "the address did not answer as agreed: its HTTP status is an error's, or ret is neither true nor false",
    Verdict.NOT_REACHED: "the address was not reached",
}


@click.group()
def callbacks() -> None:
    """Try or repeat what agents are told."""


@callbacks.command("test")
@click.argument("agent")
@as_json
@acting
def test(agent: str, *, json_: bool, actor: str) -> None:
    """Call the agent's address once, signed, with an order number that does not exist. Exit 1 unless it says `ret` true. Typed
    where a notification worker runs, it goes the way that callbacks go.

    `ret` false, too, proves that the address is reached and answers as agreed; `meaning` says so.
    """
    settings = read_settings()
    keys = KeyRing.load(settings.service_keys_path)
    callee = query(lambda tx: load_callee(tx, agent), settings)
    caller = HttpAgentCaller(http_allowed(settings), callback_nets(settings), CALL_TIMEOUT_S)
    trial = try_callback(caller, keys, agent, callee)
    write(lambda tx: record_trial(tx, agent, trial, actor), settings)
    said = trial.answer
    shown = {"agent": agent, "url": trial.url, "delivered": said.delivered, "status": said.status}
    shown |= {"answer": said.answer, "meaning": MEANINGS[trial.verdict]}
    emit(shown, json_=json_, human=lambda: fields(shown))
    if not said.delivered:
        click.get_current_context().exit(1)


@callbacks.command("resend")
@click.argument("order_no", metavar="[ORDER]", required=False)
@click.option("--agent", metavar="CODE", help="All orders whose latest outcome this agent has not taken, oldest first.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True, help="Per second."
)
@as_json
@acting
def resend(order_no: str | None, agent: str | None, rate: float, *, json_: bool, actor: str) -> None:
    """Tell the agent the order's latest outcome again, with the stored bytes. Ctrl-C stops between two; exit 4 when all
    were refused."""
    if (order_no is None) == (agent is None):
        raise click.UsageError("give either an order number or --agent CODE")
    if order_no is not None:
        pay_status = write(lambda tx: operations.resend_callback(tx, order_no, actor))
        shown = {"order_no": order_no, "pay_status": pay_status}
        emit(shown, json_=json_, human=lambda: f"{order_no}: payStatus {pay_status} is sent again")
        return
    with opened(read_settings()) as store:
        waiting = store.read(lambda tx: operations.untold(tx, str(agent)))
        rows = list(one_by_one(waiting, lambda each: _again(store, each, actor), rate))
    emit(rows, json_=json_, human=lambda: table(rows, ("order_no", "result", "pay_status", "why")))
    if rows and all(row["result"] == "refused" for row in rows):
        click.get_current_context().exit(4)


def _again(store: Store, order_no: str, actor: str) -> dict[str, str | None]:
    try:
        pay_status = write_in(store, lambda tx: operations.resend_callback(tx, order_no, actor))
    except Refused as refused:
        return {"order_no": order_no, "result": "refused", "pay_status": None, "why": str(refused)}
    return {"order_no": order_no, "result": "resent", "pay_status": pay_status, "why": ""}
