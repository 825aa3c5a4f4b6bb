"""`daifu callbacks`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from pipeline import operations
from pipeline.callback_form import CALL_TIMEOUT_S
from pipeline.cli.context import acting, callback_nets, http_allowed, query, read_settings, write
from pipeline.cli.output import as_json, emit, fields
from pipeline.operations_agents import load_agent
from pipeline.operations_callback_trial import Verdict, record_trial, try_callback
from pipeline.outbound import HttpAgentCaller
from pipeline.vault import KeyRing

MEANINGS: Mapping[Verdict, str] = {
    Verdict.TAKEN: "the address works",
    Verdict.ANSWERED_FALSE: "the address works: ret false is what many clients say to an order number that they do not know,"
    " or to a signature that does not fit their merchant key",
    Verdict.NOT_AS_AGREED: "the address did not answer as agreed: ret is neither true nor false",
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
    """Call the agent's address once, signed, with an order number that does not exist. Exit 1 unless it says `ret` true.

    `ret` false, too, proves that the address is reached and answers as agreed; `meaning` says so.
    """
    settings = read_settings()
    keys = KeyRing.load(settings.service_keys_path)
    row = query(lambda tx: load_agent(tx, agent), settings)
    caller = HttpAgentCaller(http_allowed(settings), callback_nets(settings), CALL_TIMEOUT_S)
    trial = try_callback(caller, keys, row)
    write(lambda tx: record_trial(tx, agent, trial, actor), settings)
    said = trial.answer
    shown = {"agent": agent, "url": trial.url, "delivered": said.delivered, "status": said.status}
    shown |= {"answer": said.answer, "meaning": MEANINGS[trial.verdict]}
    emit(shown, json_=json_, human=lambda: fields(shown))
    if not said.delivered:
        click.get_current_context().exit(1)


@callbacks.command("resend")
@click.argument("order_no")
@as_json
@acting
def resend(order_no: str, *, json_: bool, actor: str) -> None:
    """Tell the agent the order's latest outcome again, with the stored bytes."""
    pay_status = write(lambda tx: operations.resend_callback(tx, order_no, actor))
    shown = {"order_no": order_no, "pay_status": pay_status}
    emit(shown, json_=json_, human=lambda: f"{order_no}: payStatus {pay_status} is sent again")
