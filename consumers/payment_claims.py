"""Claiming payments and questions: accounts leased, attempts opened; what can't be paid ends, or waits for its account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.payment_items import AskItem, PayItem, Question, expected_of
from pipeline import endings, setbacks
from pipeline.endings import Unpaid
from pipeline.reasons import Reason
from pipeline.stage import CRASH_LOOP_DEATHS
from pipeline.states import PurchaseState
from pipeline.store import accounts, attempts, history, orders, work
from pipeline.store.attempts import Opening
from pipeline.store.clock import stamp
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.work import Later, WorkRow

ACTOR = "system:payment"
STAGE = "payment"


@dataclass(frozen=True, slots=True)
class Claim:
    """A work row that this worker has leased, and its purchase."""

    row: WorkRow
    purchase: Row[Any]


class Claims:
    """What one worker incarnation makes of its claims. Everything is done by sets, the more urgent first."""

    def __init__(self, worker: str, lease_s: float) -> None:
        self._worker, self._lease_s = worker, lease_s

    def pays(self, tx: Transaction, claims: Sequence[Claim]) -> list[PayItem]:
        """Leased accounts and open attempts for what may be paid now."""
        leased = self._leased(tx, self._payable(tx, claims), lambda claim: str(claim.purchase.login))
        ready = _back_to_ready(tx, leased)
        ids = [claim.purchase.id for claim in ready]
        paying = orders.move_all(tx, ids, PurchaseState.READY, PurchaseState.PAYING)
        begun = [claim for claim in ready if claim.purchase.id in paying]
        work.finish_all(tx, [claim.row for claim in ready if claim.purchase.id not in paying])
        self._let_go(tx, leased, begun)
        opened = attempts.open_all(tx, [_opening(claim) for claim in begun])
        return [_pay_item(claim, opened[claim.purchase.id]) for claim in begun]

    def asks(self, tx: Transaction, claims: Sequence[tuple[Claim, Row[Any]]]) -> list[AskItem]:
        """Leased accounts for the questions about these submitted attempts."""
        fresh = [claim for claim, _attempt in claims if claim.purchase.state == PurchaseState.PAYING]
        ids = [claim.purchase.id for claim in fresh]
        orders.move_all(tx, ids, PurchaseState.PAYING, PurchaseState.IN_DOUBT)
        lines = [Line(each.row.order_no, "in_doubt", ACTOR, {"generation": each.row.generation}) for each in fresh]
        history.tell_all(tx, lines)
        unknown = (PurchaseState.PAYING, PurchaseState.IN_DOUBT)
        work.finish_all(tx, [claim.row for claim, _attempt in claims if claim.purchase.state not in unknown])
        open_ = [claim for claim, _attempt in claims if claim.purchase.state in unknown]
        by_key = {claim.row.key: attempt for claim, attempt in claims}
        leased = self._leased(tx, open_, lambda claim: str(by_key[claim.row.key].login))
        return [_ask_item(claim, by_key[claim.row.key]) for claim in leased]

    def _payable(self, tx: Transaction, claims: Sequence[Claim]) -> list[Claim]:
        """Those that nothing speaks against; the others are over, or end here."""
        if not claims:
            return []
        moment = stamp(tx)  # the claim's; what counts is the intent's guard
        payable, over, doomed = [], [], []
        ends: list[Unpaid] = []
        for claim in claims:
            row, purchase = claim.row, claim.purchase
            if purchase.state not in (PurchaseState.READY, PurchaseState.PAYING):
                over.append(row)
            elif purchase.stop_at <= moment:
                ends.append(Unpaid(purchase, Reason.REQUEST_EXPIRED, ""))
            elif row.deaths >= CRASH_LOOP_DEATHS:
                doomed.append(claim)
            elif purchase.stated_fen and purchase.stated_fen > (purchase.fund_fen or 0):
                detail = f"请求金额 {purchase.stated_fen} 分超过采购资金"
                ends.append(Unpaid(purchase, Reason.INSUFFICIENT_FUNDS, detail, attempts_made=1))
            else:
                payable.append(claim)
        work.finish_all(tx, over)
        endings.end_all_before_intent(tx, ends, stage=STAGE, actor=ACTOR)
        for claim in _back_to_ready(tx, doomed):
            words = f"{claim.row.deaths} 次处理时进程崩溃"
            setbacks.give_up(tx, claim.row, Reason.CRASH_LOOP, words, actor=ACTOR)
        return payable

    def _leased(self, tx: Transaction, claims: Sequence[Claim], login_of: Callable[[Claim], str]) -> list[Claim]:
        """Those whose 12306 account is ours now; the others wait for it."""
        wanted = [(login_of(claim), claim.row.key) for claim in claims]
        busy = accounts.lease(tx, wanted, self._worker, self._lease_s)
        later = [
            Later(claim.row, busy[claim.row.key], None, counts=False, waits_for=login_of(claim))
            for claim in claims
            if claim.row.key in busy
        ]
        work.again_all(tx, later)
        return [claim for claim in claims if claim.row.key not in busy]

    def _let_go(self, tx: Transaction, leased: Sequence[Claim], begun: Sequence[Claim]) -> None:
        """The accounts of those that are not paid after all."""
        used = {claim.row.key for claim in begun}
        idle = [(str(claim.purchase.login), claim.row.key) for claim in leased if claim.row.key not in used]
        if idle:
            accounts.release(tx, idle, self._worker)


def _back_to_ready(tx: Transaction, claims: Sequence[Claim]) -> list[Claim]:
    """Close the attempts of holders that died or lost their lease before the intent. Missing are those whose intent was
    committed while this claim waited for the attempt's row: they have question rows now, and there is nothing to do here."""
    paying = [claim for claim in claims if claim.purchase.state == PurchaseState.PAYING]
    if not paying:
        return list(claims)
    closed = attempts.close_open_all(tx, [(claim.purchase.id, "abandoned") for claim in paying])
    submitted = attempts.submitted(tx, [claim.purchase.id for claim in paying if claim.purchase.id not in closed])
    work.finish_all(tx, [claim.row for claim in paying if claim.purchase.id in submitted])
    ids = [claim.purchase.id for claim in paying if claim.purchase.id not in submitted]
    orders.move_all(tx, ids, PurchaseState.PAYING, PurchaseState.READY)
    return [claim for claim in claims if claim.purchase.id not in submitted]


def _opening(claim: Claim) -> Opening:
    row, purchase = claim.row, claim.purchase
    return Opening(purchase.id, row.order_no, row.generation, purchase.login, row.fence, first=row.fence == 1)


def _pay_item(claim: Claim, attempt_id: str) -> PayItem:
    purchase = claim.purchase
    return PayItem(
        row=claim.row,
        purchase_id=purchase.id,
        agent=purchase.agent,
        login=purchase.login,
        password_sealed=purchase.password_sealed,
        held_order_no=purchase.held_order_no,
        known_deadline=purchase.hold_deadline,
        stop_at=purchase.stop_at,
        requested_at=purchase.requested_at,
        accepted_at=purchase.accepted_at,
        attempt_id=attempt_id,
        expected=expected_of(purchase.details, purchase.stated_fen),
    )


def _ask_item(claim: Claim, attempt: Row[Any]) -> AskItem:
    purchase = claim.purchase
    question = Question(
        attempt.login,
        attempt.held_order_no,
        attempt.trade_no,
        attempt.amount_fen,
        attempt.final_after,
        purchase.requested_at,
    )
    return AskItem(claim.row, purchase.id, attempt.id, purchase.password_sealed, question)
