"""Every behaviour of the sandbox's table (INTERFACES section 7), all of them at once, with the settings of production."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import FARE_FEN, HOLD_S, PRICE_FEN, SAMPLE, TOP_UP_FEN, order_paid
from pipeline.cli.simulation.virtual_clock import START
from pipeline.states import OrderState
from tests.simulation import books

GRACE_S, WINDOW_S, STOP_S = 300.0, 86_400.0, 1_200.0


@dataclass(frozen=True)
class Ends:
    """How a behaviour's purchase ends: what the agent is told in turn, what was posted, forms received and debits."""

    state: str
    reason: str | None
    told: tuple[str, ...]
    posted: tuple[str, ...]
    pays: int
    debits: int
    results: tuple[str, ...]
    order: OrderState
    earliest_s: float = 0.0  # not concluded before


PAID = Ends(
    "settled",
    None,
    ("1",),
    ("freeze", "hold", "post", "unfreeze"),
    1,
    1,
    ("accepted", "purchased", "settled"),
    OrderState.TICKETED,
)
FINAL_S = HOLD_S + GRACE_S


def unpaid(reason: str) -> Ends:
    return Ends(
        "held_unpaid",
        reason,
        ("2",),
        ("freeze",),
        0,
        0,
        ("accepted", "held_unpaid"),
        OrderState.PURCHASE_FAILED,
    )


def submitted_unpaid(reason: str, told: tuple[str, ...], pays: int, earliest_s: float) -> Ends:
    return Ends(
        "held_unpaid",
        reason,
        told,
        ("freeze", "hold", "void"),
        pays,
        0,
        ("accepted", "held_unpaid"),
        OrderState.PURCHASE_FAILED,
        earliest_s,
    )


def abnormal(reason: str, debits: int = 1, earliest_s: float = 0.0) -> Ends:
    return Ends(
        "paid_abnormal",
        reason,
        ("3",),
        ("freeze", "hold"),
        1,
        debits,
        ("accepted", "paid_abnormal"),
        OrderState.PURCHASE_FAILED,
        earliest_s,
    )


BEHAVIOURS: dict[str, Ends] = {
    "ok": PAID,
    "busy_then_ok": PAID,
    "session_taken_over": PAID,
    "unpaid_list_empty_at_first": PAID,
    "timeout_paid": PAID,
    "reset_after_pay": PAID,
    "error_paid": PAID,
    "garbage": PAID,
    "late_pay": PAID,
    "wrong_password": unpaid("wrong_password"),
    "account_locked": unpaid("account_locked"),
    "captcha": unpaid("captcha_required"),
    "hold_not_found": unpaid("hold_not_found"),
    "hold_expired": unpaid("hold_expired"),
    "price_changed": unpaid("price_mismatch"),
    "passenger_mismatch": unpaid("order_mismatch"),
    "already_paid": unpaid("already_paid"),
    "refuse": submitted_unpaid("pay_refused", ("2",), 1, 0.0),
    "reset_before_read": submitted_unpaid("unpaid_after_deadline", ("3", "2"), 0, FINAL_S),
    "timeout_unpaid": submitted_unpaid("unpaid_after_deadline", ("3", "2"), 1, FINAL_S),
    "error_unpaid": submitted_unpaid("unpaid_after_deadline", ("3", "2"), 1, FINAL_S),
    "redirect_307": submitted_unpaid("unpaid_after_deadline", ("3", "2"), 1, FINAL_S),
    "paid_not_issued": abnormal("not_issued", earliest_s=FINAL_S),
    "takes_other_amount": abnormal("amount_differs"),
    "mute_after_pay": abnormal("outcome_unknown", earliest_s=WINDOW_S),
    "paid_then_refunded": abnormal("not_issued"),
    "agent_pays_after_look": abnormal("paid_elsewhere", debits=0, earliest_s=FINAL_S),
}
IN_DOUBT = [name for name, ends in BEHAVIOURS.items() if ends.earliest_s]


def order_of(behaviour: str) -> str:
    return f"{SAMPLE}-{behaviour}"


@dataclass
class Run:
    """The house after the day, and what intake answered to the second request of each order."""

    house: House
    holds: dict[str, str]
    second: dict[str, str]
    third: dict[str, str]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """One day in which every behaviour is met by one order. The house is read only afterwards."""
    runs: list[Run] = []

    async def day(house: House) -> None:
        house.top_up("xcslw", TOP_UP_FEN)
        the_run = Run(house, {}, {}, {})
        for behaviour in BEHAVIOURS:
            the_run.holds[behaviour] = await house.buy(order_of(behaviour), behaviour)
        await house.rest(900)
        for behaviour in IN_DOUBT:
            the_run.second[behaviour] = await ask_again(house, behaviour, the_run.holds[behaviour])
        await house.rest(WINDOW_S)
        for behaviour, ends in BEHAVIOURS.items():
            if ends.state == "paid_abnormal":
                the_run.third[behaviour] = await ask_again(house, behaviour, the_run.holds[behaviour])
        await house.rest(60)
        books.check_books(house)
        runs.append(the_run)

    simulate(day, long=True, keep_store=True)
    yield runs[0]
    runs[0].house.store.close()


async def ask_again(house: House, behaviour: str, hold_no: str) -> str:
    order_no = order_of(behaviour)
    request = house.need_pay(order_no, hold_no, f"{order_no}@example.com", f"invented-{order_no}")
    await house.send(request)
    return request.id


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_each_behaviour_ends_as_the_table_says(run: Run, behaviour: str) -> None:
    house, order_no, ends = run.house, order_of(behaviour), BEHAVIOURS[behaviour]
    row = books.purchase(house, order_no)
    assert (row.state, row.reason) == (ends.state, ends.reason)
    assert books.state_of(house, order_no) is ends.order
    assert row.password_sealed is None
    assert row.concluded_at >= START + timedelta(seconds=ends.earliest_s)
    hold = run.holds[behaviour]
    assert len(books.journal(house, "pay", held_order_no=hold)) == ends.pays
    assert len(books.journal(house, "debit", held_order_no=hold)) == ends.debits


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_each_agent_is_told_each_outcome_once_and_signed(run: Run, behaviour: str) -> None:
    lines = books.journal(run.house, "callback", order_no=order_of(behaviour))
    assert tuple(line["pay_status"] for line in lines) == BEHAVIOURS[behaviour].told
    assert all(line["hmac_ok"] and line["webhook_id"] for line in lines)
    assert len({line["webhook_id"] for line in lines}) == len(lines)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_each_ledger_holds_what_happened_and_nothing_else(run: Run, behaviour: str) -> None:
    ends = BEHAVIOURS[behaviour]
    postings = books.posted(run.house, order_of(behaviour))
    assert tuple(kind for kind, _legs in postings) == ends.posted
    assert postings[0] == ("freeze", {"user": -FARE_FEN, "frozen": FARE_FEN})
    if ends is PAID:
        assert postings[1:] == [
            ("hold", {"procurement": -124_100, "in_flight": 124_100}),
            ("post", {"in_flight": -124_100, "railway": 124_100}),
            ("unfreeze", {"frozen": -128_400, "available": 124_100, "user": 4_300}),
        ]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_each_result_reaches_am_in_sequence(run: Run, behaviour: str) -> None:
    events = books.results_of(run.house, order_of(behaviour))
    kept = [event for event in events if event.type != "purchase.refused"]
    assert tuple(event.type.removeprefix("purchase.") for event in kept) == BEHAVIOURS[behaviour].results
    assert [event.data.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.id for event in kept] == [f"{order_of(behaviour)}:1:{event.type}" for event in kept]


@pytest.mark.parametrize("behaviour", [name for name, ends in BEHAVIOURS.items() if ends is not PAID])
def test_each_failure_is_one_dead_letter_and_each_abnormal_one_a_task(run: Run, behaviour: str) -> None:
    house, order_no, ends = run.house, order_of(behaviour), BEHAVIOURS[behaviour]
    assert [(reason, state) for _stage, reason, state in books.letters(house, order_no)] == [(ends.reason, "open")]
    assert books.open_tasks(house, order_no) == (["close_abnormal"] if ends.state == "paid_abnormal" else [])
    assert [letter.reason for letter in house.letters if letter.order_no == order_no] == [ends.reason]


@pytest.mark.parametrize("behaviour", IN_DOUBT)
def test_a_second_request_while_in_doubt_starts_nothing(run: Run, behaviour: str) -> None:
    assert books.answer_to(run.house, run.second[behaviour]) == "repeat"
    assert books.generations(run.house, order_of(behaviour)) == 1


@pytest.mark.parametrize("behaviour", [name for name, ends in BEHAVIOURS.items() if ends.state == "paid_abnormal"])
def test_a_request_for_an_abnormal_order_is_refused_with_205(run: Run, behaviour: str) -> None:
    assert books.answer_to(run.house, run.third[behaviour]) == "refused"
    assert books.refusals(run.house, order_of(behaviour)) == ["205"]
    assert books.generations(run.house, order_of(behaviour)) == 1


def test_a_wrong_password_is_tried_once_and_a_lost_session_is_opened_again(run: Run) -> None:
    logins = {
        behaviour: books.journal(run.house, "login", account=f"{order_of(behaviour)}@example.com")
        for behaviour in ("wrong_password", "session_taken_over")
    }
    assert [line["outcome"] for line in logins["wrong_password"]] == ["wrong_password"]
    assert len([line for line in logins["session_taken_over"] if line["outcome"] == "ok"]) >= 2


def test_the_fund_adds_up_after_the_day(run: Run) -> None:
    paid = sum(ends is PAID for ends in BEHAVIOURS.values())
    held = sum(ends.state == "paid_abnormal" for ends in BEHAVIOURS.values())
    found = books.balances(run.house)
    assert found["in_flight"] == held * PRICE_FEN
    assert found["procurement"] == 2 * TOP_UP_FEN - (paid + held) * PRICE_FEN
    assert found["available"] == paid * PRICE_FEN
    assert found["frozen"] == (len(BEHAVIOURS) - paid) * FARE_FEN


def test_the_agent_hears_3_at_stop_at_when_it_is_still_in_doubt(run: Run) -> None:
    lines = books.journal(run.house, "callback", order_no=order_of("timeout_unpaid"))
    moments = [(START + timedelta(seconds=STOP_S)), (START + timedelta(seconds=FINAL_S))]
    for line, moment in zip(lines, moments, strict=True):
        assert moment.isoformat() <= line["time"] < (moment + timedelta(seconds=120)).isoformat()


@pytest.mark.parametrize(("fare_fen", "reason", "told"), [(128_400, None, ["1"]), (124_100, "fare_exceeded", ["2"])])
def test_a_price_that_rose_is_measured_against_the_fare_when_none_was_stated(
    fare_fen: int, reason: str | None, told: list[str]
) -> None:
    async def scenario(house: House) -> None:
        await house.buy(SAMPLE, "price_changed", order={"fare_fen": fare_fen}, request={"price_fen": None})
        await house.until(lambda: books.is_done(house, SAMPLE))
        assert books.purchase(house, SAMPLE).reason == reason
        assert books.told(house, SAMPLE) == told
        books.check_books(house)

    simulate(scenario)


def test_two_runs_of_one_day_are_the_same_to_the_microsecond() -> None:
    def once() -> list[dict[str, object]]:
        lines: list[dict[str, object]] = []

        async def scenario(house: House) -> None:
            for behaviour in ("ok", "busy_then_ok", "timeout_paid", "late_pay", "refuse"):
                await house.buy(order_of(behaviour), behaviour)
            await house.rest(200)
            lines.extend(house.world.journal())

        simulate(scenario)
        return lines

    assert once() == once()


def test_the_order_of_the_source_document_costs_what_it_cost_there() -> None:
    async def scenario(house: House) -> None:
        await house.send(house.event(order_paid(SAMPLE)))
        await house.rest(5)
        assert books.balances(house)["frozen"] == 128_400
        await house.buy(SAMPLE)
        await house.until(lambda: books.is_done(house, SAMPLE))
        row = books.purchase(house, SAMPLE)
        assert (row.paid_fen, row.unfrozen_fen, row.partial_refund_fen) == (124_100, 124_100, 4_300)

    simulate(scenario)
