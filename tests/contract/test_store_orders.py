"""What people look for orders by, on both databases: every quick search counts what it lists, every field finds what it should."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import endings, operations, order_requests
from pipeline.operations import Fate
from pipeline.requests import RequestKind
from pipeline.store import attempts, orders
from pipeline.store.engine import Transaction
from pipeline.store.marks import mark
from pipeline.store.queries import Json, show_order
from pipeline.store.queries_orders import OrderFilter, Quick, page_of_orders, quick_counts
from schemas.orders import Ticket
from tests.contract.store_subjects import POSTGRESQL, SQLITE, url_of
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, House, console_at
from tests.unit.message_samples import TICKET

PRESALE_DAYS = 20
BOB = "human:bob"
PHONE, CONTACT, INSURANCE = "13800001234", "曹女士", "INS-0001"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with console_at(url_of(request.param, request, tmp_path), tmp_path) as house:
        yield house


def makers(house: House) -> list[Orders]:
    made = [Orders(house.store, agent, house.desk.vault_key) for agent in (AGENT, OTHER_AGENT)]
    for one in made:
        one.set_up()
    made[1].made += ["-"] * 500  # accounts of its own
    return made


class Cases:
    """Orders brought to a state each; some with a hold that ends soon, some asked back."""

    def __init__(self, house: House, by: Orders, whim: random.Random) -> None:
        self.house, self.by, self.whim = house, by, whim

    def one(self) -> None:
        kinds: list[Callable[[], str]] = [
            self.by.paid, self.by.requested, self.by.held_unpaid, self.by.in_doubt, self.by.abnormal, self.by.settled,
            self.bought, self.offline, self.no_ticket, self.never_debited, self.refunded, self.imported,
        ]  # fmt: skip
        order_no = self.whim.choice(kinds)()
        if (
            self.whim.random() < 0.3
            and self.house.read(lambda tx: orders.load(tx, [order_no]))[order_no].closure is None
        ):
            detail = {"requested_at": self.house.clock.now()}
            self.ask(order_no, RequestKind.REFUND_REQUESTED, detail)
        self.stands(order_no)

    def stands(self, order_no: str) -> None:
        """When it departs, and when its hold ends."""
        now = self.house.clock.now()
        departs = now + timedelta(hours=self.whim.choice([-5, 2, 23, 30, 24 * 19, 24 * 21, 24 * 40]))
        ends = now + timedelta(minutes=self.whim.choice([-3, 4, 9, 15, 40]))
        given = {"d": _us(departs), "e": _us(ends), "o": order_no}

        def change(tx: Transaction) -> None:
            tx.run(text("UPDATE orders SET departure_at = :d WHERE order_no = :o"), {"d": given["d"], "o": order_no})
            tx.run(
                text("UPDATE purchases SET hold_deadline = :e WHERE order_no = :o"), {"e": given["e"], "o": order_no}
            )

        self.house.write(change)

    def ask(self, order_no: str, kind: RequestKind, detail: Json) -> None:
        self.house.write(lambda tx: order_requests.request(tx, order_no, kind, detail, actor="am"))

    def bought(self) -> str:
        """Purchased, not yet settled: its money is still frozen."""
        order_no = self.by.in_doubt()
        purchase = self.by.purchase(order_no)

        def conclude(tx: Transaction) -> None:
            attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
            endings.conclude_paid(tx, purchase, attempt, PRICE_FEN, actor="system:payment")

        self.house.write(conclude)
        return order_no

    def offline(self) -> str:
        order_no = self.by.held_unpaid()
        self.house.write(lambda tx: operations.fill_in(tx, order_no, [ticket("E700000001")], BOB))
        return order_no

    def no_ticket(self) -> str:
        order_no = self.by.paid()
        self.ask(order_no, RequestKind.NO_TICKET, {"reason": "1", "words": "无票", "comment": ""})
        return order_no

    def never_debited(self) -> str:
        return self.closed(Fate.NEVER_DEBITED, None)

    def refunded(self) -> str:
        return self.closed(Fate.REFUNDED, PRICE_FEN)

    def closed(self, fate: Fate, fen: int | None) -> str:
        order_no = self.by.abnormal()
        self.house.write(
            lambda tx: operations.close_abnormal(tx, order_no, fate, fen, "账单第3行", BOB, four_eyes_fen=10**9)
        )
        return order_no

    def imported(self) -> str:
        order_no = self.by.held_unpaid()
        rules = self.house.desk.replay_rules
        self.house.write(lambda tx: operations.import_again(tx, order_no, BOB, rules))
        return order_no


def ticket(number: str) -> Ticket:
    return Ticket.model_validate(TICKET | {"ticket_no": number})


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def meant(order: Json, quick: Quick, now: datetime) -> bool:
    """What the words of a quick search say, of one order as its page shows it."""
    waits = order["order_state"] in ("paid", "purchasing", "purchase_failed")
    departs = datetime.fromisoformat(order["departure_at"])
    ends = None if order["deadline"] is None else datetime.fromisoformat(order["deadline"])
    soon = now <= departs <= now + timedelta(hours=24)
    soon = soon or (ends is not None and now <= ends <= now + timedelta(minutes=10))
    asked_back = order["refund_requested_at"] is not None and order["refund_closed_at"] is None
    means: dict[Quick, bool] = {
        Quick.PAID: waits,
        Quick.WAITING: order["order_state"] == "purchasing",
        Quick.PRESALE: waits and departs > now + timedelta(days=PRESALE_DAYS),
        Quick.REFUND: asked_back and order["order_state"] not in ("no_ticket", "refunded"),
        Quick.ALL: True,
        Quick.URGENT: waits and soon,
        Quick.FAILED: order["order_state"] == "purchase_failed",
    }
    return means[quick]


def listed(house: House, wanted: OrderFilter, limit: int = 7) -> list[str]:
    """All pages of a list."""
    found: list[str] = []
    cursor = None
    while True:
        page = house.read(lambda tx, at=cursor: page_of_orders(tx, wanted, at, limit))
        found += [row["order_no"] for row in page.rows]
        cursor = page.next
        if cursor is None:
            return found


def test_every_quick_search_lists_what_it_counts_and_what_its_words_say(house: House) -> None:
    whim = random.Random(7)
    for by in makers(house):
        cases = Cases(house, by, whim)
        for _ in range(30):
            cases.one()
    numbers = listed(house, OrderFilter(), 50)
    assert len(numbers) == 60
    all_orders: list[Json] = [house.read(lambda tx, no=no: show_order(tx, no)) for no in numbers]
    seen: set[Quick] = set()
    for agent in (None, AGENT, OTHER_AGENT):
        counts = house.read(lambda tx, agent=agent: quick_counts(tx, agent, PRESALE_DAYS))
        own = [order for order in all_orders if agent in (None, order["agent"])]
        now = house.clock.now()
        for quick in Quick:
            wanted = OrderFilter(agent=agent, quick=quick, presale_days=PRESALE_DAYS)
            expected = [order["order_no"] for order in own if meant(order, quick, now)]
            assert listed(house, wanted) == expected, quick
            assert counts[quick.value] == len(expected), quick
            seen |= {quick} if 0 < len(expected) < len(own) else set()
    assert seen == set(Quick) - {Quick.ALL}, "some quick search was tried on nothing, or on everything"


def test_each_search_field_finds_its_order_and_no_other(house: House) -> None:
    mine, others = makers(house)
    now = house.clock.now()
    departs, ordered = (now + timedelta(days=3)).isoformat(), (now - timedelta(days=2)).isoformat()
    contact = {"name": CONTACT, "phone": PHONE, "email": ""}
    order_no = mine.paid(
        departure_at=departs, ordered_at=ordered, train_no="G1/G3", contact=contact, insurance_no=INSURANCE,
        appointment=True, **{"from": "上海", "to": "杭州"},
    )  # fmt: skip
    failed, live, settled, offline = mine.held_unpaid(), mine.requested(), mine.settled(), mine.paid()
    tickets = [ticket("E700000001")]
    house.write(lambda tx: operations.fill_in(tx, offline, tickets, BOB))
    others.paid()
    holds = {no: f"E{mine.number(no)}" for no in (failed, live, settled)}
    day = timedelta(hours=1)
    three, two = now + timedelta(days=3), now - timedelta(days=2)
    searches: list[tuple[dict[str, Any], list[str]]] = [
        ({"order_no": order_no}, [order_no]),
        ({"departure_since": three - day, "departure_until": three + day}, [order_no]),
        ({"train_no": "G3"}, [order_no]),
        ({"train_no": "G%"}, []),
        ({"ordered_since": two - day, "ordered_until": two + day}, [order_no]),
        ({"phone": PHONE}, [order_no]),
        ({"phone": PHONE[:-1]}, []),
        ({"contact": CONTACT}, [order_no]),
        ({"insurance_no": INSURANCE}, [order_no]),
        ({"from_station": "上海", "to_station": "杭州"}, [order_no]),
        ({"from_station": "杭州"}, []),
        ({"appointment": "是"}, [order_no]),
        ({"ticket_no": "E700000001"}, [offline]),
        *(({"ticket_no": hold}, [no]) for no, hold in holds.items()),
        ({"state": "paid"}, [order_no]),
        ({"state": "purchase_failed"}, [failed]),
        ({"state": "purchasing"}, [live]),
        ({"state": "ready"}, [live]),
        ({"state": "held_unpaid"}, [failed]),
        ({"state": "ticketed"}, [settled]),
        ({"state": "settled", "outcome": "purchased"}, [settled]),
        ({"state": "ticketed_offline"}, [offline]),
        ({"state": "refunded"}, []),
        ({"state": "no such state"}, []),
        ({"reason": "insufficient_funds", "outcome": "held_unpaid"}, [failed]),
        ({"since": now + timedelta(hours=1)}, []),
        ({"since": now - timedelta(hours=1), "phone": PHONE}, [order_no]),
        ({"quick": Quick.FAILED, "ticket_no": holds[failed]}, [failed]),
        ({"quick": Quick.WAITING, "ticket_no": holds[failed]}, []),
    ]
    for wanted, expected in searches:
        assert listed(house, OrderFilter(agent=AGENT, **wanted)) == expected, wanted
        assert listed(house, OrderFilter(agent=OTHER_AGENT, **wanted)) == [] or "since" in wanted or "state" in wanted


def test_what_shares_a_mark_is_told_apart_by_the_text_itself(house: House) -> None:
    mine, _ = makers(house)
    twin = "139015636314"  # found by trying
    assert mark(twin) == mark(PHONE)
    first = mine.paid(contact={"name": "甲", "phone": PHONE, "email": ""})
    second = mine.paid(contact={"name": "乙", "phone": twin, "email": ""})
    assert listed(house, OrderFilter(phone=PHONE)) == [first]
    assert listed(house, OrderFilter(phone=twin)) == [second]
