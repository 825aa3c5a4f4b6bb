"""What two answers prove about a submitted payment: every combination, and the rules that keep it safe (DESIGN 5.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from pipeline.ports import RailwayOrder, RailwayTicket, Trade, TradeState
from pipeline.proof import GONE_BACK_CODES, PAID_CODES, Finding, Listing, Proven, listing_of, weigh
from pipeline.reasons import Reason

FINAL_AFTER = datetime(2014, 11, 17, 13, 0, tzinfo=UTC)
BEFORE, EXACTLY, AFTER = (FINAL_AFTER + timedelta(microseconds=us) for us in (-1, 0, 1))
FEN = 124_100
L, T = Listing, TradeState

LISTINGS: list[Listing | None] = [None, *Listing]
TRADES: list[Trade | None] = [None] + [
    Trade(state, fen)
    for state, amounts in (
        (T.NONE, (0,)),
        (T.WAITING, (0,)),
        (T.CLOSED, (0,)),
        (T.PAID, (FEN, FEN - 1, FEN + 1)),
        (T.REFUNDED, (FEN, FEN - 1)),
    )
    for fen in amounts
]
TIMES = [BEFORE, EXACTLY, AFTER]
ALL = list(product(LISTINGS, TRADES, TIMES))
KNOWS_A_PAYMENT = {L.PAID, L.GONE_BACK}
MONEY_MOVED = {T.PAID, T.REFUNDED}


def found(listing: Listing | None, trade: Trade | None, asked_at: datetime) -> Finding:
    return weigh(listing, trade, amount_fen=FEN, asked_at=asked_at, final_after=FINAL_AFTER)


@pytest.mark.parametrize(("listing", "trade", "asked_at"), ALL)
def test_unpaid_is_proven_exactly_by_two_late_answers_that_know_of_no_payment(
    listing: Listing | None, trade: Trade | None, asked_at: datetime
) -> None:
    both_late = listing is not None and trade is not None and asked_at > FINAL_AFTER
    no_payment = both_late and listing not in KNOWS_A_PAYMENT and trade is not None and trade.state not in MONEY_MOVED
    assert (found(listing, trade, asked_at).proven is Proven.UNPAID) is no_payment


@pytest.mark.parametrize(("listing", "trade", "asked_at"), ALL)
def test_paid_is_proven_exactly_by_both_with_the_forms_amount(
    listing: Listing | None, trade: Trade | None, asked_at: datetime
) -> None:
    paid = listing is L.PAID and trade == Trade(T.PAID, FEN)
    finding = found(listing, trade, asked_at)
    assert (finding.proven is Proven.PAID) is paid
    if paid:
        assert (finding.reason, finding.debited_fen) == (None, FEN)


@pytest.mark.parametrize(("listing", "trade", "asked_at"), [case for case in ALL if None in case[:2]])
def test_silence_of_either_never_proves_paid_or_unpaid(
    listing: Listing | None, trade: Trade | None, asked_at: datetime
) -> None:
    assert found(listing, trade, asked_at).proven in (Proven.NOTHING, Proven.ABNORMAL)


def test_silence_of_both_proves_nothing_at_any_time() -> None:
    assert {found(None, None, asked_at).proven for asked_at in TIMES} == {Proven.NOTHING}


@pytest.mark.parametrize(("listing", "trade", "asked_at"), ALL)
def test_what_is_proven_early_is_proven_late(listing: Listing | None, trade: Trade | None, asked_at: datetime) -> None:
    early, late = found(listing, trade, BEFORE), found(listing, trade, AFTER)
    if early.proven is not Proven.NOTHING:
        assert early == late


@pytest.mark.parametrize(("listing", "trade", "asked_at"), ALL)
def test_money_that_the_cashier_took_is_never_called_unpaid(
    listing: Listing | None, trade: Trade | None, asked_at: datetime
) -> None:
    if trade is not None and trade.state in MONEY_MOVED:
        finding = found(listing, trade, asked_at)
        assert finding.proven is not Proven.UNPAID
        if finding.proven is not Proven.NOTHING:
            assert finding.debited_fen == trade.amount_fen


PAID, OTHER, BACK = Trade(T.PAID, FEN), Trade(T.PAID, FEN + 1), Trade(T.REFUNDED, FEN)
NONE, WAITING, CLOSED = Trade(T.NONE, 0), Trade(T.WAITING, 0), Trade(T.CLOSED, 0)
ABNORMAL = [
    (L.PAID, OTHER, BEFORE, Reason.AMOUNT_DIFFERS, FEN + 1),
    (None, OTHER, BEFORE, Reason.AMOUNT_DIFFERS, FEN + 1),
    (L.UNPAID, BACK, BEFORE, Reason.NOT_ISSUED, FEN),
    (None, BACK, BEFORE, Reason.NOT_ISSUED, FEN),
    (L.GONE_BACK, PAID, BEFORE, Reason.NOT_ISSUED, FEN),
    (L.UNPAID, PAID, AFTER, Reason.NOT_ISSUED, FEN),
    (L.ABSENT, PAID, AFTER, Reason.NOT_ISSUED, FEN),
    (L.PAID, NONE, AFTER, Reason.PAID_ELSEWHERE, 0),
    (L.PAID, WAITING, AFTER, Reason.PAID_ELSEWHERE, 0),
    (L.GONE_BACK, CLOSED, AFTER, Reason.PAID_ELSEWHERE, 0),
]


@pytest.mark.parametrize(("listing", "trade", "asked_at", "reason", "debited"), ABNORMAL)
def test_what_went_wrong_is_named(
    listing: Listing | None, trade: Trade, asked_at: datetime, reason: Reason, debited: int
) -> None:
    assert found(listing, trade, asked_at) == Finding(Proven.ABNORMAL, reason, debited, by_time=asked_at == AFTER)


@pytest.mark.parametrize("asked_at", [BEFORE, EXACTLY])
@pytest.mark.parametrize(
    ("listing", "trade"),
    [(L.UNPAID, PAID), (L.ABSENT, PAID), (L.PAID, NONE), (L.PAID, WAITING), (L.UNPAID, NONE), (L.ABSENT, CLOSED)],
)
def test_before_the_deadline_and_grace_it_may_still_come(listing: Listing, trade: Trade, asked_at: datetime) -> None:
    assert found(listing, trade, asked_at).proven is Proven.NOTHING


# -- where 12306 has the order ----------------------------------------------------------------------------------------


def listed(*codes: str) -> RailwayOrder:
    tickets = tuple(RailwayTicket("张三", "1", "0", "硬卧下", "11", "04号下铺", "1", 41_300, code) for code in codes)
    return RailwayOrder("E646076788", "T7", FINAL_AFTER, "北京西", "成都", tickets, 41_300 * len(codes), None)


@pytest.mark.parametrize(
    ("finished", "unpaid", "expected"),
    [
        (None, True, L.UNPAID),
        (None, False, L.ABSENT),
        (listed("a", "b"), False, L.PAID),
        (listed("a"), True, L.PAID),
        (listed("a", "c"), False, L.GONE_BACK),
        (listed("d"), True, L.GONE_BACK),
        (listed("a", "m"), False, L.PAID),
        (listed("j"), False, L.GONE_BACK),
        (listed("i"), False, L.ABSENT),
        (listed("i"), True, L.UNPAID),
        (listed("a", "i"), False, None),
        (listed("a", "i"), True, None),
        (listed("?"), False, None),
        (listed(), False, None),
    ],
)
def test_both_lists_become_one_word(finished: RailwayOrder | None, unpaid: bool, expected: Listing | None) -> None:  # noqa: FBT001
    assert listing_of(finished, in_unpaid_list=unpaid) is expected


def test_an_order_is_paid_only_if_every_ticket_is() -> None:
    others = set("abcdefghijklmnopqrstuvwxyz") - PAID_CODES
    assert all(listing_of(listed("a", code), in_unpaid_list=False) is not L.PAID for code in others)
    assert not PAID_CODES & GONE_BACK_CODES


@pytest.mark.parametrize(("listing", "trade", "asked_at"), ALL)
def test_what_only_the_time_proves_is_marked(listing: Listing | None, trade: Trade | None, asked_at: datetime) -> None:
    early, finding = found(listing, trade, BEFORE), found(listing, trade, asked_at)
    assert finding.by_time is (finding != early)
