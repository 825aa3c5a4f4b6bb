"""Orders that the user paid for: registered with their fare frozen, and met by the requests that overtook them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from pipeline.errors import DaifuError
from pipeline.ledger import freeze
from pipeline.need_pay import Limits, Opening, Request, decide_all, open_with_their_orders
from pipeline.order_requests import Answer
from pipeline.reasons import Reason
from pipeline.requests import ERR_WORDS, ErrCode
from pipeline.store import dead_letters, history, inbox, ledger, orders, results, work
from pipeline.store.clock import stamp
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.marks import searched_by
from pipeline.store.results import Refused
from pipeline.store.sets import rounds
from pipeline.store.types import JsonText
from pipeline.store.work import Step, work_key
from schemas.am_messages import NeedPay
from schemas.orders import OrderPaid


class Conflict(DaifuError):
    """The message contradicts what is stored: same id with other content, or an order that is already known differently."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class Registered(NamedTuple):
    """`new` orders; those of them whose own request opened their first generation; how known ones differ from what is told now."""

    new: AbstractSet[str]
    opened: AbstractSet[str]
    conflicts: Mapping[str, Conflict]


def register(
    tx: Transaction, paid: Sequence[OrderPaid], openings: Mapping[str, Opening], limits: Limits, origin: str
) -> Registered:
    """Store paid orders, freeze their fares and take up the requests that waited for them. Each order at most once. `openings`: what
    a request in the same message opens if its order is new. Such an order is stored with its first generation open; one that others
    asked for before, of which refusals were told or something failed, or during a recovery, is decided as a known order is."""
    if not paid:
        return Registered(set(), set(), {})
    order_nos = [data.order_no for data in paid]
    inbox.meet_orders(tx, order_nos)  # whoever waits for them is visible afterwards
    waiting = inbox.take_waiting(tx, order_nos)
    at_once = orders.without_a_past(tx, openings.keys() - {row.order_no for row in waiting})
    moment = stamp(tx)
    new = orders.insert_orders(tx, [_columns(data, moment, at_once) for data in paid])
    fresh = [data for data in paid if data.order_no in new]
    ledger.apply_late(tx, [freeze(data.agent, data.order_no, data.fare_fen) for data in fresh if data.fare_fen > 0])
    lines = [
        Line(data.order_no, "order_paid", "am", {"fare_fen": data.fare_fen, "agent": data.agent}) for data in fresh
    ]
    history.tell_all(tx, lines)
    opened = [openings[data.order_no] for data in fresh if data.order_no in at_once]
    open_with_their_orders(tx, opened, limits, origin)
    _take_up_waiting(tx, waiting, new, limits, origin)
    return Registered(new, new & at_once, _conflicts(tx, [data for data in paid if data.order_no not in new]))


def _columns(data: OrderPaid, moment: Any, at_once: AbstractSet[str]) -> dict[str, Any]:
    generation = 1 if data.order_no in at_once else 0
    return {
        "order_no": data.order_no,
        "agent": data.agent,
        "joint_trip": data.trip == "joint",
        "details": JsonText(data.model_dump_json()),
        "fare_fen": data.fare_fen,
        "frozen_fen": data.fare_fen,
        "departure_at": data.departure_at,
        "paid_at": data.paid_at,
        **searched_by(data),
        "generation": generation,
        "result_seq": generation,  # that it is accepted is the first thing told
        "created_at": moment,
        "updated_at": moment,
    }


def _conflicts(tx: Transaction, repeated: Sequence[OrderPaid]) -> dict[str, Conflict]:
    if not repeated:
        return {}
    found, stored = {}, orders.details_of(tx, [data.order_no for data in repeated])
    for data in repeated:
        told, known = json.loads(data.model_dump_json()), json.loads(stored[data.order_no])
        differing = sorted(name for name in told if name in known and _differs(told[name], known[name]))
        if differing:
            reason = "differs from the order.paid that is stored for this order"
            found[data.order_no] = Conflict(f"data.{differing[0]}", reason)
    return found


def _differs(told: Any, stored: Any) -> bool:
    """Whether two JSON values differ in what both know: a version that knows more fields, or fewer, says nothing else."""
    if isinstance(told, dict) and isinstance(stored, dict):
        return any(_differs(told[name], stored[name]) for name in told.keys() & stored.keys())
    if isinstance(told, list) and isinstance(stored, list):
        return len(told) != len(stored) or any(_differs(*pair) for pair in zip(told, stored, strict=True))
    return bool(told != stored)


def _take_up_waiting(
    tx: Transaction, taken: Sequence[Row[Any]], own: AbstractSet[str], limits: Limits, origin: str
) -> None:
    """Decide the requests that overtook these orders, which this transaction has stored."""
    work.remove(tx, {work_key(row.order_no, 0, Step.ORDER_WAIT) for row in taken})
    for waiting in rounds(taken, lambda row: row.order_no):
        asked = [Request(_request_of(row), row.payload["time_us"]) for row in waiting]
        answers = decide_all(tx, asked, limits, origin, own)
        _settle(
            tx, [(row, request.data.agent, answers[row.order_no]) for row, request in zip(waiting, asked, strict=True)]
        )


def _request_of(waiting: Row[Any]) -> NeedPay:
    return NeedPay.model_validate_json(waiting.payload["data"])


def _settle(tx: Transaction, answered: Sequence[tuple[Row[Any], str, Answer]]) -> None:
    """What requests that waited are told in the end: (request, agent, answer). Each order at most once."""
    inbox.answer_waiting(tx, [(row.source, row.id, answer.result, answer.generation) for row, _, answer in answered])
    results.emit_refusals(
        tx,
        [
            Refused(row.order_no, agent, row.id, answer.err_code, answer.words)
            for row, agent, answer in answered
            if answer.err_code is not None
        ],
    )


def give_up_waiting(tx: Transaction, *order_nos: str) -> None:
    """ORDER_WAIT_S is over and no order.paid came: the waiting requests are refused."""
    refused = Answer("refused", ErrCode.UNKNOWN_ORDER, ERR_WORDS[ErrCode.UNKNOWN_ORDER])
    for waiting in rounds(inbox.take_waiting(tx, order_nos), lambda row: row.order_no):
        requests = [(row, _request_of(row)) for row in waiting]
        _settle(tx, [(row, request.agent, refused) for row, request in requests])
        inbox.keep_in_vain(
            tx, [(row.source, row.id, {"data": _without_password(request)}) for row, request in requests]
        )
        dead_letters.add_all(tx, [_letter(row.order_no, request) for row, request in requests])
        detail = {"err_code": ErrCode.UNKNOWN_ORDER}
        history.tell_all(tx, [Line(row.order_no, "need_pay_refused", "system:intake", detail) for row in waiting])


def _without_password(request: NeedPay) -> str:
    return request.model_copy(update={"password_sealed": None}).model_dump_json(exclude_none=True)


def _letter(order_no: str, request: NeedPay) -> DeadLetterFacts:
    words = "订单支付消息在等待时限内没有到达"
    return DeadLetterFacts(
        "intake", order_no, 0, request.agent, Reason.ORDER_UNKNOWN, words, 1, request.price_fen, None
    )
