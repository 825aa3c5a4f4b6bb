"""What people do with dead letters beside replaying them: discard, restore, note."""

from __future__ import annotations

from typing import Any

from pipeline import endings
from pipeline.operations_errors import Refused, person, words_of
from pipeline.operations_replay import LETTER_WORDS, find_letter
from pipeline.reasons import Reason
from pipeline.states import BEFORE_INTENT, LIVE, PurchaseState
from pipeline.store import attempts, dead_letters, history, orders, recovery
from pipeline.store.engine import Row, Transaction

# Its outcome is known and stands; discarding its dead letter only says that nobody will work on it.
_OVER = (PurchaseState.HELD_UNPAID, PurchaseState.NEVER_DEBITED, PurchaseState.REFUNDED, PurchaseState.SETTLED)


def discard(tx: Transaction, letter_id: int, reason: str, actor: str) -> None:
    """Nobody will replay it. A live purchase without an intent ends as held_unpaid, `withdrawn`; with one it is refused.

    Raises NotFound, Refused.
    """
    person(actor)
    reason = words_of(reason, "reason")
    letter = find_letter(tx, letter_id)
    if letter.state != "open":
        raise Refused("not_open", f"这条死信{LETTER_WORDS[letter.state]}")
    _guard_departure(tx, letter)
    purchase = _purchase(tx, letter)
    if purchase is not None:
        _end(tx, letter, purchase, reason, actor)
    if not dead_letters.move(tx, letter.id, "open", "discarded"):
        raise Refused("not_open", "这条死信刚被别人处理")
    dead_letters.set_note(tx, letter.id, reason)
    _tell(tx, letter, "dead_letters.discard", "dead_letter_discarded", actor, reason=reason)


def restore(tx: Transaction, letter_id: int, actor: str) -> None:
    """A discarded dead letter is open again. Raises NotFound, Refused."""
    person(actor)
    letter = find_letter(tx, letter_id)
    if letter.state != "discarded":
        raise Refused("not_discarded", f"这条死信{LETTER_WORDS[letter.state]}, 只有丢弃的可以恢复")
    if letter.order_no is not None:
        order = orders.load(tx, [letter.order_no]).get(letter.order_no)
        if order is not None and letter.generation and order.generation != letter.generation:
            raise Refused("imported_again", f"订单已重新导入 (第 {order.generation} 次)")
        same = (letter.stage, letter.generation)
        if any((row.stage, row.generation) == same for row in dead_letters.open_of(tx, letter.order_no)):
            raise Refused("already_open", "同一步骤已有一条未处理的死信")
    if not dead_letters.move(tx, letter.id, "discarded", "open"):
        raise Refused("not_discarded", "这条死信刚被别人处理")
    _tell(tx, letter, "dead_letters.restore", "dead_letter_restored", actor)


def note(tx: Transaction, letter_id: int, text: str, actor: str) -> None:
    """What people should know about it; replaces the note that was there. Raises NotFound."""
    letter = find_letter(tx, letter_id)
    dead_letters.set_note(tx, letter.id, text.strip() or None)
    history.audit(tx, person(actor), "dead_letters.note", str(letter.id), note=text.strip())


def _purchase(tx: Transaction, letter: Row[Any]) -> Row[Any] | None:
    if letter.order_no is None or not letter.generation:
        return None
    key = f"{letter.order_no}:{letter.generation}"
    return orders.load_purchases(tx, [key]).get(key)


def _guard_departure(tx: Transaction, letter: Row[Any]) -> None:
    """Nothing else would ever unfreeze the money of an order that was ticketed offline."""
    if letter.stage != "settlement" or letter.generation or letter.order_no is None:
        return
    order = orders.load(tx, [letter.order_no]).get(letter.order_no)
    if order is not None and order.frozen_fen > 0:
        raise Refused("still_frozen", f"还有 {order.frozen_fen} 分冻结待解冻, 不能丢弃: 请重放")


def _end(tx: Transaction, letter: Row[Any], purchase: Row[Any], reason: str, actor: str) -> None:
    state = PurchaseState(purchase.state)
    if state in _OVER or (letter.stage == "notification" and state not in LIVE):
        return
    if state in BEFORE_INTENT and recovery.in_question(tx, purchase.order_no, purchase.accepted_at):
        raise Refused("recovered_hold", "恢复前可能已支付: 先核实占座并关闭任务 (`daifu tasks list`)")
    without_intent = state in BEFORE_INTENT and not attempts.submitted(tx, [purchase.id])
    if not without_intent or not endings.end_before_intent(
        tx, purchase, Reason.WITHDRAWN, reason, stage=letter.stage, actor=actor
    ):
        raise Refused("has_intent", "支付已提交或钱已动, 不能丢弃: 等核实结果, 或由人结案")


def _tell(tx: Transaction, letter: Row[Any], act: str, what: str, actor: str, **facts: Any) -> None:
    history.audit(tx, actor, act, str(letter.id), **facts)
    if letter.order_no is not None:
        history.tell(tx, letter.order_no, what, actor, dead_letter=letter.id, **facts)
