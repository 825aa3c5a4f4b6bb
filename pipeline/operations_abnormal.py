"""Closing a 支付完成,出票异常: a person's act with evidence, by two persons above a set amount (DESIGN sections 5, 6, 8)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import closings, endings
from pipeline.ledger import Account, found_payment, post, railway_refund, void
from pipeline.operations_errors import PERSON, NotFound, Refused, person, words_of
from pipeline.operations_proposals import TASK, Fate, find_task, proposal_of
from pipeline.reasons import Reason
from pipeline.refunds import book_refunds
from pipeline.states import Closure, PurchaseState
from pipeline.store import attempts, dead_letters, history, inbox, ledger, orders, results, tasks
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from schemas.fields import MAX_FEN


@dataclass(frozen=True, slots=True)
class Closing:
    """What is to be done; two persons must ask for exactly the same."""

    how: Fate
    debited_fen: int


@dataclass(frozen=True, slots=True)
class Closed:
    """`done` False: it is proposed, and another person must confirm it."""

    order_no: str
    how: Fate
    done: bool
    proposed_by: str | None


def close_abnormal(
    tx: Transaction,
    order_no: str,
    how: Fate,
    debited_fen: int | None,
    evidence: str,
    actor: str,
    *,
    four_eyes_fen: int,
    may_confirm: bool = True,
) -> Closed:
    """Close the order's paid_abnormal purchase. `debited_fen`: what left our account; 0 or None for never_debited.

    Where nothing of the purchase was submitted (paid_elsewhere), our money can only have moved before a restore, or by an
    older generation: it is then booked without a hold, once per order.

    Above `four_eyes_fen` the first call records a proposal on the task, and the same call by somebody else does it, unless
    that one may not (`may_confirm`). Raises NotFound, Refused.
    """
    person(actor)
    evidence = words_of(evidence, "evidence")
    orders.lock(tx, order_no)  # a CONFIRM at the same moment is kept before, or applied after
    order = orders.load(tx, [order_no]).get(order_no)
    if order is None:
        raise NotFound(f"没有订单 {order_no}")
    if order.state != PurchaseState.PAID_ABNORMAL:
        raise Refused("not_paid_abnormal", f"订单 {order_no} 不是“支付完成,出票异常”")
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    attempt = attempts.submitted(tx, [purchase.id]).get(purchase.id)
    closing = _checked(tx, how, debited_fen, purchase, attempt)
    at_stake = max(purchase.fare_fen if attempt is None else attempt.amount_fen, closing.debited_fen)
    if at_stake > four_eyes_fen:
        proposed_by = _second_pair_of_eyes(tx, order_no, closing, evidence, actor, may_confirm=may_confirm)
        if proposed_by is None:
            return Closed(order_no, how, done=False, proposed_by=actor)
    else:
        proposed_by = None
    _close(tx, order, purchase, attempt, closing, evidence, actor)
    _settle_the_paper(tx, purchase, closing, evidence, actor, proposed_by)
    return Closed(order_no, how, done=True, proposed_by=proposed_by)


def _checked(
    tx: Transaction, how: Fate, debited_fen: int | None, purchase: Row[Any], attempt: Row[Any] | None
) -> Closing:
    if how is Fate.NEVER_DEBITED:
        if debited_fen:
            raise Refused("bad_amount", "从未扣款: 扣款金额必须为 0")
        return Closing(how, 0)
    if debited_fen is None or not 0 < debited_fen <= MAX_FEN:
        raise Refused("bad_amount", "需要实际扣款金额 (分)")
    more_fen = debited_fen - (0 if attempt is None else attempt.amount_fen)
    fund_fen = ledger.balances(tx, purchase.agent)[Account.PROCUREMENT]
    if more_fen > fund_fen:
        raise Refused("insufficient_funds", f"扣款比在途多 {more_fen} 分, 采购资金只有 {fund_fen} 分, 请先充值")
    return Closing(how, debited_fen)


def _second_pair_of_eyes(
    tx: Transaction, order_no: str, closing: Closing, evidence: str, actor: str, *, may_confirm: bool
) -> str | None:
    """Who proposed exactly this before; None: it is the proposal now, in place of any other."""
    task = find_task(tx, order_no)
    before = proposal_of(task)
    if before is not None and before.by != actor and not may_confirm:
        raise Refused("pending", f"{before.by.removeprefix(PERSON)} 已提交结案, 等待主管复核")
    if before is not None and (before.how, before.debited_fen) == (closing.how, closing.debited_fen):
        if before.by == actor:
            raise Refused("second_person", "金额超过双人复核线, 需要另一个人以相同内容确认")
        return before.by
    tasks.propose(tx, task.id, json.dumps({"by": actor, **asdict(closing)}), evidence)
    history.tell(tx, order_no, "closing_proposed", actor, how=closing.how, debited_fen=closing.debited_fen)
    history.audit(
        tx, actor, "abnormal.propose", order_no, how=closing.how, debited_fen=closing.debited_fen, evidence=evidence
    )
    return None


def _close(
    tx: Transaction,
    order: Row[Any],
    purchase: Row[Any],
    attempt: Row[Any] | None,
    closing: Closing,
    evidence: str,
    actor: str,
) -> None:
    becomes = {
        Fate.TICKETED: PurchaseState.PURCHASED,
        Fate.REFUNDED: PurchaseState.REFUNDED,
        Fate.NEVER_DEBITED: PurchaseState.NEVER_DEBITED,
    }[closing.how]
    reason = None if closing.how is Fate.TICKETED else Reason(purchase.reason)
    if not orders.end(
        tx, purchase.id, PurchaseState.PAID_ABNORMAL, becomes, reason, purchase.detail or "", closing.debited_fen
    ):
        raise Refused("not_paid_abnormal", f"订单 {order.order_no} 刚被别人结案")
    if attempt is not None:
        attempts.conclude(tx, attempt.id, "person", closing.debited_fen, evidence)
    elif closing.debited_fen:
        ledger.apply(tx, [found_payment(purchase.agent, order.order_no, closing.debited_fen)])
    if closing.how is Fate.TICKETED:
        endings.purchased(tx, [(purchase, closing.debited_fen)], {}, actor=actor)
    elif closing.how is Fate.REFUNDED:
        _refund(tx, order, purchase, attempt, closing.debited_fen, actor)
    else:
        if attempt is not None:
            ledger.apply(tx, [void(purchase.agent, order.order_no, attempt.id, attempt.amount_fen)])
        book_refunds(tx, [order.order_no])  # one that waited for a post waits in vain: a task
        results.emit(tx, order.order_no, purchase.generation, "purchase.held_unpaid")
        closings.apply_kept(tx, [order.order_no], actor=actor)


def _refund(
    tx: Transaction, order: Row[Any], purchase: Row[Any], attempt: Row[Any] | None, debited_fen: int, actor: str
) -> None:
    """Post, 12306 refund, full refund: the money went out and came back, and the user gets all of the fare back."""
    order_no, agent = order.order_no, purchase.agent
    if attempt is not None:
        ledger.apply(tx, [post(agent, order_no, attempt.id, attempt.amount_fen, debited_fen)])
    book_refunds(tx, [order_no])  # those that AM told of before the post
    rest_fen = inbox.posted_fen(tx, order_no).get(order_no, 0)
    refund_id = f"closing-{purchase.generation}"
    if rest_fen > 0 and inbox.remember_refund(tx, order_no, refund_id, agent, rest_fen, now(tx)):
        ledger.apply(tx, [railway_refund(agent, order_no, refund_id, rest_fen)])
        inbox.mark_booked(tx, order_no, refund_id)
    closings.refund_in_full(tx, order, Closure.REFUNDED, {"closed_by": actor}, actor=actor)
    results.emit(tx, order_no, purchase.generation, "purchase.refunded")


def _settle_the_paper(
    tx: Transaction, purchase: Row[Any], closing: Closing, evidence: str, actor: str, proposed_by: str | None
) -> None:
    """The task is closed, dead letters of the purchase are settled by it, and it is written down who did what."""
    order_no = purchase.order_no
    for task in tasks.find(tx, order_no=order_no):
        if task.kind == TASK:
            tasks.close(tx, task.id, actor, closing.how.value, evidence)
    for letter in dead_letters.open_of(tx, order_no):
        if letter.generation == purchase.generation and letter.stage != "notification":
            dead_letters.move(tx, letter.id, "open", "superseded")
    facts: dict[str, Any] = {"how": closing.how, "debited_fen": closing.debited_fen, "evidence": evidence}
    history.tell(tx, order_no, "closed_by_person", actor, generation=purchase.generation, **facts)
    history.audit(tx, actor, "abnormal.close", order_no, proposed_by=proposed_by, **facts)
