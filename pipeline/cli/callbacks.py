"""`daifu callbacks`."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import asdict
from typing import Any

import click

from consumers.notification import CALL_TIMEOUT_S, signed_body, webhook_headers
from pipeline import operations
from pipeline.cli.context import acting, callback_nets, http_allowed, query, read_settings, write
from pipeline.cli.output import as_json, emit, fields
from pipeline.operations import NotFound
from pipeline.outbound import HttpAgentCaller
from pipeline.settings import Settings
from pipeline.store.accounts import load_agents
from pipeline.store.engine import Row
from pipeline.vault import KeyRing

TEST_ORDER_NO = "daifu-callback-test"  # no AM order has this number
TEST_PAY_STATUS = "0"  # means nothing to anybody: 1, 2 and 3 would


@click.group()
def callbacks() -> None:
    """Try or repeat what agents are told."""


@callbacks.command("test")
@click.argument("agent")
@as_json
def test(agent: str, *, json_: bool) -> None:
    """Call the agent's address once, signed, with an order number that does not exist. Exit 1 unless it says `ret` true.

    `ret` false, too, proves that the address is reached and answers as agreed; `meaning` says so.
    """
    settings = read_settings()
    keys = KeyRing.load(settings.service_keys_path)
    row = query(lambda tx: load_agents(tx, [agent]).get(agent), settings)
    if row is None:
        raise NotFound(f"no agent {agent}: see `daifu agents list`")
    answer = {"agent": agent, "url": row.callback_url, **_call(settings, keys, row)}
    emit(answer, json_=json_, human=lambda: fields(answer))
    if not answer["delivered"]:
        click.get_current_context().exit(1)


def _call(settings: Settings, keys: KeyRing, agent: Row[Any]) -> dict[str, Any]:
    body = signed_body(TEST_ORDER_NO, agent.code, TEST_PAY_STATUS, keys.open(agent.merchant_key_sealed)).encode()
    secret = keys.open(agent.webhook_secret_sealed)
    headers = webhook_headers(f"test:{uuid.uuid4().hex}", int(time.time()), body, secret)
    caller = HttpAgentCaller(http_allowed(settings), callback_nets(settings), CALL_TIMEOUT_S)
    answer = asdict(asyncio.run(caller.post(agent.callback_url, body, headers)))
    shown = {name: answer[name] for name in ("delivered", "status", "answer")}
    return {**shown, "meaning": meaning(shown["answer"], delivered=shown["delivered"])}


def meaning(answer: str, *, delivered: bool) -> str:
    """What the answer to a test call proves."""
    if delivered:
        return "the address works"
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and str(said.get("ret")).strip().lower() == "false":
        return (
            "the address works: ret false is what many clients say to an order number that they do not know,"
            " or to a signature that does not fit their merchant key"
        )
    return "the address did not answer as agreed: ret is neither true nor false"


@callbacks.command("resend")
@click.argument("order_no")
@as_json
@acting
def resend(order_no: str, *, json_: bool, actor: str) -> None:
    """Tell the agent the order's latest outcome again, with the stored bytes."""
    pay_status = write(lambda tx: operations.resend_callback(tx, order_no, actor))
    shown = {"order_no": order_no, "pay_status": pay_status}
    emit(shown, json_=json_, human=lambda: f"{order_no}: payStatus {pay_status} is sent again")
