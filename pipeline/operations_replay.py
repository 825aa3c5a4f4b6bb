"""Replaying dead letters: doing a stage's work again, under guards that hold at the moment it runs (DESIGN section 8).

What a replay does depends on where the work stands: a purchase that ended held_unpaid is imported again as the next
generation; a live one gets its work row back; a callback is sent again; undecodable input is accepted again as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline import operations_import, operations_raw
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.operations_import import Rules
from pipeline.operations_raw_edit import Edit
from pipeline.operations_resend import guard_latest
from pipeline.reasons import OUTCOME_WORDS, RULES, Outcome, Reason
from pipeline.states import LIVE, ORDER_STATE_WORDS, STATE_WORDS, Closure, OrderState, PurchaseState
from pipeline.store import attempts, callbacks, dead_letters, history, orders, work
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import shown
from pipeline.store.work import Step, work_key

LETTER_WORDS = {"open": "待处理", "replayed": "已重放", "discarded": "已丢弃", "superseded": "已被新的代付或结案取代"}
STEP_OF = {"credentials": Step.CREDENTIALS, "payment": Step.PAY, "settlement": Step.SETTLE}


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would do now. `told_at`: when payStatus 2 of this purchase was delivered, so that the agent may have
    acted on it; the operator records that the agent agreed. `does`: what would happen, in words; empty where refused."""

    id: int
    result: Literal["replay", "refuse"]
    why: str
    told_at: datetime | None = None
    does: str = ""


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
    return ReplayPlan(letter.id, "replay", _words(told_at), told_at, _does(tx, letter))


def replay(
    tx: Transaction,
    letter_id: int,
    actor: str,
    rules: Rules,
    *,
    agreed: str | None = None,
    needs_agreement: bool = False,
    edit: Edit | None = None,
    job: int | None = None,
) -> ReplayResult:
    """Replay one dead letter, or say why not; refused, nothing but the audit log changes.

    `agreed`: who of the agent agreed, and when, in the operator's words; with `needs_agreement` nothing that the agent was
    told of is replayed without. `edit`: undecodable input, mended. `job`: that it is part of. Raises NotFound.
    """
    person(actor)
    letter = find_letter(tx, letter_id)
    told_at = _told_at(tx, letter)
    try:
        with tx.savepoint():
            if letter.order_no is not None:
                orders.lock(tx, letter.order_no)  # a request of the agent's, or another replay, waits for this one
            _guard(tx, letter, rules, edit)
            if needs_agreement and told_at is not None and agreed is None:
                raise Refused("agreement_missing", f"{_words(told_at)}: 需先取得代理商的同意")
            if not dead_letters.move(tx, letter.id, "open", "replayed"):
                raise Refused("not_open", "这条死信刚被别人处理")
            dead_letters.count_replay(tx, letter.id)
            answer = _do(tx, letter, actor, rules, edit)
    except Refused as refused:
        refusal: dict[str, Any] = {"result": "refused", "why": str(refused), "job": job}
        history.audit(tx, actor, "dead_letters.replay", str(letter.id), **refusal)
        return ReplayResult(letter.id, "refused", str(refused))
    why = " ".join(part for part in (answer, _words(told_at)) if part)
    agreement = {"told_at": shown(told_at), "agreed": agreed}
    facts: dict[str, Any] = agreement | {
        "result": "replayed",
        "why": why,
        "job": job,
        "edited": None if edit is None else edit.changes,
    }
    history.audit(tx, actor, "dead_letters.replay", str(letter.id), **facts)
    if letter.order_no is not None:
        history.tell(tx, letter.order_no, "replayed", actor, dead_letter=letter.id, reason=letter.reason, **agreement)
    return ReplayResult(letter.id, "replayed", why)


def _does(tx: Transaction, letter: Row[Any]) -> str:
    """What `_do` does with what `_guard` let through."""
    if letter.body_sealed is not None:
        return "按原样重新受理这条消息"
    if letter.stage == "notification":
        return f"重新通知代理商 payStatus {callbacks.of_orders(tx, [letter.order_no])[-1].pay_status} (内容不变)"
    order = orders.load(tx, [letter.order_no])[letter.order_no]
    if letter.reason == Reason.ORDER_UNKNOWN:
        return "订单已到, 受理等待中的代付请求"
    if order.state == PurchaseState.HELD_UNPAID and letter.generation:
        return f"重新导入: 开始第 {order.generation + 1} 次代付 (账号、12306订单号和金额不变, 密码重新取)"
    return "从停下的一步继续, 不重新导入"


def _words(told_at: datetime | None) -> str:
    return "" if told_at is None else f"已于 {shown(told_at)} 通知代理商“{OUTCOME_WORDS[Outcome.HELD_UNPAID]}”"


def _told_at(tx: Transaction, letter: Row[Any]) -> datetime | None:
    if letter.order_no is None or letter.generation is None or letter.stage == "notification":
        return None
    told = callbacks.last_delivered(tx, letter.order_no, letter.generation)
    moment: datetime | None = None if told is None else told.delivered_at
    return moment


def _guard(tx: Transaction, letter: Row[Any], rules: Rules, edit: Edit | None = None) -> None:
    """Raises Refused with the first guard that holds."""
    if letter.state != "open":
        raise Refused("not_open", f"这条死信{LETTER_WORDS[letter.state]}")
    reason = Reason(letter.reason)
    if RULES[reason].outcome is Outcome.PAID_ABNORMAL:
        raise Refused("paid_abnormal", "“支付完成,出票异常”不能重放, 只能由人结案")
    if letter.body_sealed is not None:
        operations_raw.readable(letter, rules.service_keys, edit)
    elif edit is not None:
        raise Refused("not_raw", "只有无法识别的原始消息可以修改")
    elif letter.stage == "notification":
        _guard_callback(tx, letter)
    else:
        _guard_purchase(tx, letter, reason, rules)


def _do(tx: Transaction, letter: Row[Any], actor: str, rules: Rules, edit: Edit | None) -> str:
    if letter.body_sealed is not None:
        return operations_raw.accept_again(tx, letter, rules.limits, rules.service_keys, edit)
    if letter.stage == "notification":
        _call_again(tx, letter.order_no)
        return ""
    order = orders.load(tx, [letter.order_no])[letter.order_no]
    if letter.reason == Reason.ORDER_UNKNOWN:
        operations_import.import_waited(tx, order, actor, rules)
        return ""
    if order.state == PurchaseState.HELD_UNPAID and letter.generation:
        operations_import.import_again(tx, order, actor, rules)
        return ""
    _put_back(tx, letter, order)
    return ""


def _guard_callback(tx: Transaction, letter: Row[Any]) -> None:
    """Only the latest outcome is ever sent or resent."""
    order = orders.load(tx, [letter.order_no]).get(letter.order_no)
    if order is not None:
        guard_latest(tx, order)
    latest = callbacks.of_orders(tx, [letter.order_no])
    if not latest or latest[-1].state != "exhausted":
        raise Refused("nothing_to_tell", "最新的结果已通知或仍在通知, 没有需要重发的")


def _call_again(tx: Transaction, order_no: str) -> None:
    callbacks.revive(tx, callbacks.of_orders(tx, [order_no])[-1].id)
    work.bring_forward(tx, order_no, Step.TELL)


def _guard_purchase(tx: Transaction, letter: Row[Any], reason: Reason, rules: Rules) -> None:
    order = orders.load(tx, [letter.order_no]).get(letter.order_no) if letter.order_no is not None else None
    if order is None:
        raise Refused("order_unknown", "订单支付消息还没有到达: 请AM重新发送 order.paid")
    if reason is Reason.ORDER_UNKNOWN:
        operations_import.guard_waited(tx, order)
        return
    if not letter.generation:
        _guard_departure(tx, order)
        return
    if order.generation != letter.generation:
        raise Refused("imported_again", f"订单已重新导入 (第 {order.generation} 次), 请处理新的代付")
    if order.closure is not None:
        raise Refused("closed", f"订单已关闭: {ORDER_STATE_WORDS[OrderState(order.closure)]}")
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    state = PurchaseState(purchase.state)
    if state is PurchaseState.HELD_UNPAID:
        operations_import.guard_again(tx, order, purchase, reason, rules)
    elif letter.stage in STEP_OF and RULES[reason].outcome is None:
        _guard_put_back(tx, letter, purchase)
    elif state in LIVE:
        raise Refused("live", "代付正在进行")
    else:
        raise Refused(state.value, f"代付已是“{STATE_WORDS[state]}”")


def _guard_departure(tx: Transaction, order: Row[Any]) -> None:
    if order.closure != Closure.TICKETED_OFFLINE or order.frozen_fen == 0:
        raise Refused("nothing_to_do", "没有待解冻的线下出票金额")
    if work.find(tx, [work_key(order.order_no, 0, Step.DEPARTURE)]):
        raise Refused("live", "解冻已在排队")


def _guard_put_back(tx: Transaction, letter: Row[Any], purchase: Row[Any]) -> None:
    step = STEP_OF[letter.stage]
    fits = {
        Step.CREDENTIALS: (PurchaseState.ACCEPTED,),
        Step.PAY: (PurchaseState.READY, PurchaseState.PAYING),
        Step.SETTLE: (PurchaseState.PURCHASED,),
    }[step]
    if purchase.state not in fits:
        raise Refused(purchase.state, f"代付已是“{STATE_WORDS[PurchaseState(purchase.state)]}”, 这一步不再需要")
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
