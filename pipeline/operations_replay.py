"""Replaying dead letters: doing a stage's work again, under guards that hold at the moment it runs (DESIGN section 8).

What a replay does depends on where the work stands: a purchase that ended held_unpaid is imported again as the next
generation; a live one gets its work row back; a callback is sent again; undecodable input is accepted again as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pipeline import acceptance, operations_raw
from pipeline.acceptance import Limits
from pipeline.ledger import Account
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.reasons import OUTCOME_WORDS, RULES, Outcome, Reason, Replay
from pipeline.requests import RequestKind, Verdict, decide
from pipeline.states import LIVE, Closure, PurchaseState
from pipeline.store import accounts, agents, attempts, callbacks, dead_letters, history, ledger, orders, work
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import shown
from pipeline.store.queries_desk import is_blocked, last_refusal_at
from pipeline.store.types import to_us
from pipeline.store.work import Step, work_key
from pipeline.vault import KeyRing

STEP_OF = {"credentials": Step.CREDENTIALS, "payment": Step.PAY, "settlement": Step.SETTLE}


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings a replay goes by. Without the second key ring nothing undecodable can be opened."""

    limits: Limits
    margin_s: float
    service_keys: KeyRing | None


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would do now. `told_at`: when payStatus 2 of this purchase was delivered, so that the agent may have
    acted on it; the operator records that the agent agreed."""

    id: int
    result: Literal["replay", "refuse"]
    why: str
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    id: int
    result: Literal["replayed", "refused"]
    why: str


def find_letter(tx: Transaction, letter_id: int) -> Row[Any]:
    """Raises NotFound."""
    rows = dead_letters.by_ids(tx, [letter_id])
    if not rows:
        raise NotFound(f"没有死信 {letter_id}: 用 `daifu dead-letters list` 查看")
    return rows[0]


def would_replay(tx: Transaction, letter: Row[Any], rules: Rules) -> ReplayPlan:
    """The dry run. Changes nothing."""
    try:
        _guard(tx, letter, rules)
    except Refused as refused:
        return ReplayPlan(letter.id, "refuse", str(refused))
    told_at = _told_at(tx, letter)
    return ReplayPlan(letter.id, "replay", _words(told_at), told_at)


def replay(tx: Transaction, letter_id: int, actor: str, rules: Rules, *, agreed: str | None = None) -> ReplayResult:
    """Replay one dead letter, or say why not; refused, nothing but the audit log changes.

    `agreed`: who of the agent agreed, and when, in the operator's words. Raises NotFound.
    """
    person(actor)
    letter = find_letter(tx, letter_id)
    told_at = _told_at(tx, letter)
    try:
        with tx.savepoint():
            _guard(tx, letter, rules)
            if not dead_letters.move(tx, letter.id, "open", "replayed"):
                raise Refused("not_open", "这条死信刚被别人处理")
            dead_letters.count_replay(tx, letter.id)
            answer = _do(tx, letter, actor, rules)
    except Refused as refused:
        history.audit(tx, actor, "dead_letters.replay", str(letter.id), result="refused", why=str(refused))
        return ReplayResult(letter.id, "refused", str(refused))
    why = " ".join(part for part in (answer, _words(told_at)) if part)
    facts = {"told_at": shown(told_at), "agreed": agreed}
    history.audit(tx, actor, "dead_letters.replay", str(letter.id), result="replayed", why=why, **facts)
    if letter.order_no is not None:
        history.tell(tx, letter.order_no, "replayed", actor, dead_letter=letter.id, reason=letter.reason, **facts)
    return ReplayResult(letter.id, "replayed", why)


def _words(told_at: datetime | None) -> str:
    return "" if told_at is None else f"已于 {shown(told_at)} 通知代理商“{OUTCOME_WORDS[Outcome.HELD_UNPAID]}”"


def _told_at(tx: Transaction, letter: Row[Any]) -> datetime | None:
    if letter.order_no is None or letter.generation is None or letter.stage == "notification":
        return None
    told = callbacks.last_delivered(tx, letter.order_no, letter.generation)
    moment: datetime | None = None if told is None else told.delivered_at
    return moment


def _guard(tx: Transaction, letter: Row[Any], rules: Rules) -> None:
    """Raises Refused with the first guard that holds."""
    if letter.state != "open":
        raise Refused("not_open", f"这条死信已是 {letter.state}")
    reason = Reason(letter.reason)
    if RULES[reason].outcome is Outcome.PAID_ABNORMAL:
        raise Refused("paid_abnormal", "“支付完成,出票异常”不能重放, 只能由人结案")
    if letter.body_sealed is not None:
        operations_raw.opened(letter, rules.service_keys)
    elif letter.stage == "notification":
        _guard_callback(tx, letter)
    else:
        _guard_purchase(tx, letter, reason, rules)


def _do(tx: Transaction, letter: Row[Any], actor: str, rules: Rules) -> str:
    if letter.body_sealed is not None:
        return operations_raw.accept_again(tx, letter, rules.limits, rules.service_keys)
    if letter.stage == "notification":
        _call_again(tx, letter.order_no)
        return ""
    order = orders.load(tx, [letter.order_no])[letter.order_no]
    if order.state == PurchaseState.HELD_UNPAID and letter.generation:
        return _import_again(tx, order, actor, rules)
    _put_back(tx, letter, order)
    return ""


def _guard_callback(tx: Transaction, letter: Row[Any]) -> None:
    """Only the latest outcome is ever sent or resent."""
    latest = callbacks.of_orders(tx, [letter.order_no])
    if not latest or latest[-1].state != "exhausted":
        state = latest[-1].state if latest else "none"
        raise Refused("nothing_to_tell", f"最新的通知状态是 {state}, 没有需要重发的")


def _call_again(tx: Transaction, order_no: str) -> None:
    callbacks.revive(tx, callbacks.of_orders(tx, [order_no])[-1].id)
    moment = now(tx)
    work.bring_forward(tx, order_no, Step.TELL, urgency=moment, due_at=None, now=moment)


def _guard_purchase(tx: Transaction, letter: Row[Any], reason: Reason, rules: Rules) -> None:
    order = orders.load(tx, [letter.order_no]).get(letter.order_no) if letter.order_no is not None else None
    if order is None:
        raise Refused("order_unknown", "订单还没有到达, 没有可重放的内容: 请AM重新发送 order.paid 和 need_pay")
    if not letter.generation:
        _guard_departure(tx, order)
        return
    if order.generation != letter.generation:
        raise Refused("imported_again", f"订单已重新导入 (第 {order.generation} 次), 请处理新的代付")
    if order.closure is not None:
        raise Refused("closed", f"订单已关闭: {order.closure}")
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    state = PurchaseState(purchase.state)
    if state is PurchaseState.HELD_UNPAID:
        _guard_import(tx, order, purchase, reason, rules)
    elif letter.stage in STEP_OF and RULES[reason].outcome is None:
        _guard_put_back(tx, letter, purchase)
    elif state in LIVE:
        raise Refused("live", "代付正在进行")
    else:
        raise Refused(state.value, f"代付已是 {state.value}")


def _guard_departure(tx: Transaction, order: Row[Any]) -> None:
    if order.closure != Closure.TICKETED_OFFLINE or order.frozen_fen == 0:
        raise Refused("nothing_to_do", "没有待解冻的线下出票金额")
    if work.find(tx, [work_key(order.order_no, 0, Step.DEPARTURE)]):
        raise Refused("live", "解冻已在排队")


def _guard_import(tx: Transaction, order: Row[Any], purchase: Row[Any], reason: Reason, rules: Rules) -> None:
    """The import rules, and what the reason asks for first."""
    ended_for = Reason(purchase.reason)
    for one in (reason, ended_for):
        if RULES[one].replay is Replay.NEVER:
            raise Refused(one.value, f"{RULES[one].words}: 不能重放, 需重新占座或无需处理")
    decision = decide(RequestKind.NEED_PAY, orders.facts_of(order), purchase.held_order_no)
    if decision.verdict is not Verdict.ACCEPT:
        raise Refused(str(decision.err_code or "live"), decision.words or "代付正在进行")
    moment = now(tx)
    margin = timedelta(seconds=rules.margin_s)
    if purchase.hold_deadline is not None and purchase.hold_deadline - margin <= moment:
        raise Refused("hold_expired", f"占座支付期限 {shown(purchase.hold_deadline)} 已过或所剩不足")
    _guard_account(tx, purchase, ended_for, moment)
    if RULES[ended_for].replay is Replay.AFTER_TOP_UP:
        needed_fen = purchase.stated_fen or purchase.fare_fen
        fund_fen = ledger.balances(tx, purchase.agent)[Account.PROCUREMENT]
        if fund_fen < needed_fen:
            raise Refused("insufficient_funds", f"采购资金 {fund_fen} 分, 需要 {needed_fen} 分, 请先充值")


def _guard_account(tx: Transaction, purchase: Row[Any], ended_for: Reason, moment: datetime) -> None:
    """A login must be possible; after a refused password it must be another one, or a person must have unblocked it."""
    agent = accounts.load_agents(tx, [purchase.agent]).get(purchase.agent)
    own = accounts.account_password(tx, purchase.agent, purchase.login)
    if own is None and (agent is None or agent.password_sealed is None):
        words = f"账号 {purchase.login} 没有保存的密码 (请求里的密码已随代付结束删除): 先设置密码, 或请代理商重新导入"
        raise Refused("credential_missing", words)
    if RULES[ended_for].replay is not Replay.AFTER_ACCOUNT:
        return
    account = accounts.account(tx, purchase.login)
    if account is not None and is_blocked(account, moment):
        raise Refused(
            "account_blocked", f"账号 {purchase.login} 仍被锁定或已被拒绝 3 次: 处理后用 `daifu accounts unblock`"
        )
    refused_at = last_refusal_at(tx, purchase.login)
    set_at = agents.password_set_at(tx, purchase.agent, purchase.login)
    if ended_for is Reason.WRONG_PASSWORD and refused_at is not None and (set_at is None or set_at <= refused_at):
        raise Refused("wrong_password", f"账号 {purchase.login} 的密码被拒绝后没有改过: 先设置新密码")


def _guard_put_back(tx: Transaction, letter: Row[Any], purchase: Row[Any]) -> None:
    step = STEP_OF[letter.stage]
    fits = {
        Step.CREDENTIALS: (PurchaseState.ACCEPTED,),
        Step.PAY: (PurchaseState.READY, PurchaseState.PAYING),
        Step.SETTLE: (PurchaseState.PURCHASED,),
    }[step]
    if purchase.state not in fits:
        raise Refused(purchase.state, f"代付已是 {purchase.state}, 这一步不再需要")
    if step is Step.PAY and attempts.submitted(tx, [purchase.id]):
        raise Refused("live", "支付已提交, 只核实结果")
    if work.find(tx, [work_key(purchase.order_no, purchase.generation, step)]):
        raise Refused("live", "这一步已在排队")
    if step is not Step.SETTLE and purchase.stop_at <= now(tx):
        raise Refused("request_expired", f"代付时限 {shown(purchase.stop_at)} 已过")


def _put_back(tx: Transaction, letter: Row[Any], order: Row[Any]) -> None:
    if not letter.generation:
        work.add(tx, order.order_no, 0, Step.DEPARTURE, urgency=order.departure_at)
        return
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    work.add(tx, order.order_no, letter.generation, STEP_OF[letter.stage], urgency=purchase.stop_at)


def _import_again(tx: Transaction, order: Row[Any], actor: str, rules: Rules) -> str:
    """Generation n + 1: agent, account, hold number and stated amount are taken over, the password is looked up again."""
    ended = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    moment = now(tx)
    purchase_id = acceptance.open_purchase(
        tx,
        order,
        ended.login,
        ended.held_order_no,
        ended.stated_fen,
        None,
        to_us(moment),
        rules.limits,
        "replay",
        actor,
    )
    if purchase_id is None:
        raise Refused("imported_again", "订单刚被重新导入或关闭")
    if ended.hold_deadline is not None:
        orders.update_purchase(tx, purchase_id, hold_deadline=ended.hold_deadline)
        orders.stop_earlier(tx, purchase_id, ended.hold_deadline - timedelta(seconds=rules.margin_s))
    return ""
