"""DESIGN section 5, "Requests for a known order", as one table: every request against everything an order can be."""

from __future__ import annotations

import pytest

from pipeline.requests import ERR_WORDS, ErrCode, OrderFacts, RequestKind, decide
from pipeline.states import BEFORE_INTENT, Closure, PurchaseState

# Rows: the order's latest purchase, or how it was closed. `+intent`: submitted, not moved on yet.
# Columns: NEED_PAY of the same hold, of another hold, of none named (ProcessGoPay); CONFIRM; NO_TICKET; refund requested.
# Answers: accept (generation + 1), repeat (true, nothing starts), a refusal's code, close, keep, tickets, withdraw.
TABLE = """
latest               same    other   none    confirm  no_ticket  refund
-                    accept  accept  accept  close    close      keep
held_unpaid          accept  accept  accept  close    close      keep
accepted             repeat  204     repeat  close    close      withdraw
ready                repeat  204     repeat  close    close      withdraw
paying               repeat  204     repeat  close    close      withdraw
paying+intent        repeat  204     repeat  keep     206        keep
in_doubt             repeat  204     repeat  keep     206        keep
purchased            008     008     008     tickets  206        keep
settled              008     008     008     tickets  206        keep
paid_abnormal        205     205     205     keep     206        keep
never_debited        205     205     205     close    close      keep
refunded             203     203     203     206      206        repeat
closed:offline       203     203     203     repeat   206        206
closed:no_ticket     203     203     203     206      repeat     206
closed:refunded      203     203     203     206      206        repeat
"""
# The same with a refund request that is still open.
TABLE_REFUND_REQUESTED = """
latest               same    other   none    confirm  no_ticket  refund
-                    207     207     207     close    close      repeat
held_unpaid          207     207     207     close    close      repeat
paying+intent        repeat  204     repeat  keep     206        repeat
in_doubt             repeat  204     repeat  keep     206        repeat
purchased            008     008     008     tickets  206        repeat
settled              008     008     008     tickets  206        repeat
paid_abnormal        205     205     205     keep     206        repeat
never_debited        205     205     205     close    close      repeat
closed:offline       203     203     203     repeat   206        206
closed:refunded      203     203     203     206      206        repeat
"""

HOLD, OTHER = "E646076788", "E000000001"
CLOSURES = {
    "closed:offline": Closure.TICKETED_OFFLINE,
    "closed:no_ticket": Closure.NO_TICKET,
    "closed:refunded": Closure.REFUNDED,
}
ASKED = {
    "same": (RequestKind.NEED_PAY, HOLD),
    "other": (RequestKind.NEED_PAY, OTHER),
    "none": (RequestKind.NEED_PAY, None),
    "confirm": (RequestKind.CONFIRM, None),
    "no_ticket": (RequestKind.NO_TICKET, None),
    "refund": (RequestKind.REFUND_REQUESTED, None),
}


def cells(table: str) -> list[tuple[str, str, str]]:
    """(row, column, answer) of every cell."""
    header, *rows = (line.split() for line in table.strip().split("\n"))
    return [(row[0], column, answer) for row in rows for column, answer in zip(header[1:], row[1:], strict=True)]


def facts(row: str, *, refund: bool = False, joint: bool = False, hold: str | None = HOLD) -> OrderFacts:
    closure = CLOSURES.get(row)
    state, _, intent = row.partition("+")
    latest = None if closure is not None or state == "-" else PurchaseState(state)
    submitted = latest is not None and (bool(intent) or latest not in {*BEFORE_INTENT, PurchaseState.HELD_UNPAID})
    return OrderFacts(
        joint_trip=joint,
        closure=closure,
        refund_requested=refund,
        generation=0 if latest is None else 1,
        latest=latest,
        intent=submitted,
        held_order_no=None if latest is None else hold,
    )


def answer(column: str, known: OrderFacts) -> str:
    kind, hold = ASKED[column]
    decision = decide(kind, known, hold)
    if decision.err_code is not None:
        assert decision.words
        return decision.err_code.value
    return {"store_tickets": "tickets"}.get(decision.verdict.value, decision.verdict.value)


@pytest.mark.parametrize(("row", "column", "expected"), cells(TABLE))
def test_a_request_is_answered_as_the_table_says(row: str, column: str, expected: str) -> None:
    assert answer(column, facts(row)) == expected


@pytest.mark.parametrize(("row", "column", "expected"), cells(TABLE_REFUND_REQUESTED))
def test_a_request_while_a_refund_is_open_is_answered_as_the_table_says(row: str, column: str, expected: str) -> None:
    assert answer(column, facts(row, refund=True)) == expected


def test_the_table_has_a_row_for_everything_an_order_can_be() -> None:
    rows = {row for row, _, _ in cells(TABLE)}
    assert rows == {state.value for state in PurchaseState} | set(CLOSURES) | {"-", "paying+intent"}


@pytest.mark.parametrize("row", ["-", "held_unpaid", "accepted", "purchased", "closed:offline"])
@pytest.mark.parametrize("column", ["same", "other", "none"])
def test_a_joint_trip_is_never_paid_for(row: str, column: str) -> None:
    assert answer(column, facts(row, joint=True)) == "201"


@pytest.mark.parametrize(("column", "expected"), [("confirm", "close"), ("no_ticket", "close"), ("refund", "keep")])
def test_a_joint_trip_can_be_closed(column: str, expected: str) -> None:
    assert answer(column, facts("-", joint=True)) == expected


@pytest.mark.parametrize("column", ["same", "other", "none"])
def test_a_live_purchase_whose_hold_is_not_known_yet_is_the_same_request(column: str) -> None:
    assert answer(column, facts("ready", hold=None)) == "repeat"


@pytest.mark.parametrize("row", [row for row in dict.fromkeys(row for row, _, _ in cells(TABLE)) if row != "purchased"])
def test_no_ticket_is_never_refused_with_008(row: str) -> None:
    assert answer("no_ticket", facts(row)) != "008", "clients take 008 as success"


def test_every_error_code_has_its_words() -> None:
    assert set(ERR_WORDS) == set(ErrCode)
    assert all(ERR_WORDS.values())
