"""Importing an order again for a replay: the import rules, and what must be put right first (DESIGN sections 5, 8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline import acceptance
from pipeline.acceptance import Limits
from pipeline.ledger import Account
from pipeline.operations_errors import Refused
from pipeline.reasons import RULES, Reason, Replay
from pipeline.requests import RequestKind, Verdict, decide
from pipeline.settings import Settings
from pipeline.store import accounts, agents, inbox, ledger, orders
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import shown
from pipeline.store.queries_desk import is_blocked, last_refusal_at
from pipeline.vault import KeyRing
from schemas.am_messages import NeedPay


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings a replay goes by. Without the second key ring nothing undecodable can be opened."""

    limits: Limits
    margin_s: float
    service_keys: KeyRing | None


def rules_of(settings: Settings, service_keys: KeyRing | None) -> Rules:
    """The rules by this installation's settings."""
    limits = Limits(settings.submit_within_s, settings.order_wait_s)
    return Rules(limits, settings.pay_margin_s, service_keys)


def guard_again(tx: Transaction, order: Row[Any], purchase: Row[Any], reason: Reason, rules: Rules) -> None:
    """Whether a purchase that ended held_unpaid may be imported again now. Raises Refused."""
    ended_for = Reason(purchase.reason)
    for one in (reason, ended_for):
        if RULES[one].replay is Replay.NEVER:
            raise Refused(one.value, f"{RULES[one].words}: 不能重放, 需重新占座或无需处理")
    guard_need_pay(order, purchase.held_order_no)
    moment = now(tx)
    margin = timedelta(seconds=rules.margin_s)
    if purchase.hold_deadline is not None and purchase.hold_deadline - margin <= moment:
        raise Refused("hold_expired", f"占座支付期限 {shown(purchase.hold_deadline)} 已过或所剩不足")
    _guard_password(tx, purchase.agent, purchase.login)
    if RULES[ended_for].replay is Replay.AFTER_ACCOUNT:
        _guard_account(tx, purchase, ended_for, moment)
    if RULES[ended_for].replay is Replay.AFTER_TOP_UP:
        needed_fen = purchase.stated_fen or purchase.fare_fen
        fund_fen = ledger.balances(tx, purchase.agent)[Account.PROCUREMENT]
        if fund_fen < needed_fen:
            raise Refused("insufficient_funds", f"采购资金 {fund_fen} 分, 需要 {needed_fen} 分, 请先充值")


def guard_waited(tx: Transaction, order: Row[Any]) -> None:
    """Whether the request that waited for its order in vain may be accepted, now that the order is there. Raises Refused."""
    request = _waited(tx, order)
    guard_need_pay(order, next(iter(request.hold_numbers), None))
    _guard_password(tx, request.agent, request.account)


def import_again(tx: Transaction, order: Row[Any], actor: str, rules: Rules) -> None:
    """Generation n + 1: agent, account, hold number and stated amount are taken over, the password is looked up again."""
    ended = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    purchase_id = _open(tx, order, ended.login, ended.held_order_no, ended.stated_fen, actor, rules)
    if ended.hold_deadline is not None:
        orders.update_purchase(tx, purchase_id, hold_deadline=ended.hold_deadline)
        orders.stop_earlier(tx, purchase_id, ended.hold_deadline - timedelta(seconds=rules.margin_s))


def import_waited(tx: Transaction, order: Row[Any], actor: str, rules: Rules) -> None:
    """What the request asked for, from now on."""
    request = _waited(tx, order)
    _open(tx, order, request.account, next(iter(request.hold_numbers), None), request.price_fen, actor, rules)


def _open(
    tx: Transaction,
    order: Row[Any],
    login: str,
    hold: str | None,
    stated_fen: int | None,
    actor: str,
    rules: Rules,
) -> str:
    opening = acceptance.Opening(order, login, hold, stated_fen, None, actor)
    purchase_id = acceptance.open_purchase(tx, opening, rules.limits, "replay")
    if purchase_id is None:
        raise Refused("imported_again", "订单刚被重新导入或关闭")
    return purchase_id


def _waited(tx: Transaction, order: Row[Any]) -> NeedPay:
    payload = inbox.waited_in_vain(tx, order.order_no)
    if payload is None:
        raise Refused("order_unknown", "代付请求的内容已不在: 请AM重新发送 need_pay")
    request = NeedPay.model_validate_json(payload["data"])
    if request.agent != order.agent:
        raise Refused("order_unknown", f"订单属于代理商 {order.agent}, 请求来自 {request.agent}")
    return request


def guard_need_pay(order: Row[Any], hold: str | None) -> None:
    """Whether the order may be imported at all. Raises Refused."""
    decision = decide(RequestKind.NEED_PAY, orders.facts_of(order), hold)
    if decision.verdict is not Verdict.ACCEPT:
        raise Refused(str(decision.err_code or "live"), decision.words or "代付正在进行")


def _guard_password(tx: Transaction, agent_code: str, login: str) -> None:
    """The ended request's password is deleted: one must be stored."""
    own = accounts.account_password(tx, agent_code, login)
    if own is None and not accounts.unified_passwords(tx, [agent_code]):
        words = f"账号 {login} 没有保存的密码 (请求里的密码已随代付结束删除): 先设置密码, 或请代理商重新导入"
        raise Refused("credential_missing", words)


def _guard_account(tx: Transaction, purchase: Row[Any], ended_for: Reason, moment: datetime) -> None:
    """A login must be possible; after a refused password it must be another one, or a person must have unblocked it."""
    account = accounts.account(tx, purchase.login)
    if account is not None and is_blocked(account, moment):
        raise Refused(
            "account_blocked", f"账号 {purchase.login} 仍被锁定或已被拒绝 3 次: 处理后用 `daifu accounts unblock`"
        )
    refused_at = last_refusal_at(tx, purchase.login)
    set_at = agents.password_set_at(tx, purchase.agent, purchase.login)
    if ended_for is Reason.WRONG_PASSWORD and refused_at is not None and (set_at is None or set_at <= refused_at):
        raise Refused("wrong_password", f"账号 {purchase.login} 的密码被拒绝后没有改过: 先设置新密码")
