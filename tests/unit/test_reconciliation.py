"""A bill against our postings: what agrees, what does not, each break once with its task, and closed by what explains it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import endings, operations
from pipeline.operations_errors import Refused
from pipeline.operations_reconciliation import Upload, compare_again, note_break, upload_bill
from pipeline.reasons import Reason
from pipeline.refunds import book_refunds
from pipeline.store import attempts, inbox, queries_tasks, tasks
from pipeline.store.audit import audit
from tests.unit.bill_world import Moved, account_bill, trades_bill
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, House, console_at, settle_in

BOB = "human:bob"


@dataclass
class Books:
    """A house with an agent's orders; bills of the last hours."""

    house: House
    orders: Orders
    serials: int = 0

    @property
    def now(self) -> datetime:
        return self.house.clock.now()

    def moved(self, order_no: str, fen: int = PRICE_FEN, trade_no: str | None = None, **more: Any) -> Moved:
        self.serials += 1
        trade = f"T{self.orders.number(order_no)}" if trade_no is None else trade_no
        return Moved(trade, fen, self.now, f"{self.serials:014d}", **more)

    def upload(
        self, *lines: Moved, until: timedelta = timedelta(0), name: str = "bill.csv", make: Any = account_bill
    ) -> Upload:
        begins = (self.now - timedelta(hours=5)).replace(microsecond=0)
        content = make(lines, begins, self.now + until).encode("gbk")
        return upload_bill(self.house.write, name, content, BOB)

    def refund(self, order_no: str, refund_id: str, fen: int) -> None:
        self.house.write(lambda tx: inbox.remember_refund(tx, order_no, refund_id, AGENT, fen, self.now))
        self.house.write(lambda tx: book_refunds(tx, [order_no]))

    def lines(self) -> list[str]:
        return [
            row.state for row in self.house.read(lambda tx: tx.rows(text("SELECT state FROM bill_lines ORDER BY id")))
        ]

    def open(self) -> list[tuple[Any, ...]]:
        query = text(
            "SELECT b.kind, b.order_no, b.here_fen, b.there_fen FROM bill_breaks b JOIN tasks t ON t.uid = b.uid"
            " WHERE t.closed_at IS NULL ORDER BY b.id"
        )
        return [tuple(row) for row in self.house.read(lambda tx: tx.rows(query))]

    def audited(self) -> None:
        report = self.house.read(audit)
        assert report.ok, report.broken


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with console_at(f"sqlite:///{tmp_path / 'books.sqlite3'}", tmp_path, people=False) as house:
        orders = Orders(house.store, AGENT, house.desk.vault_key)
        house.write(lambda tx: settle_in(tx, house.desk.service_keys))
        orders.set_up()
        yield Books(house, orders)


def test_payments_and_refunds_that_agree_leave_nothing_to_do(books: Books) -> None:
    first, second = books.orders.settled(), books.orders.settled()
    books.refund(first, "r1", 41_300)
    books.refund(first, "r2", 300)
    done = books.upload(
        books.moved(first, -300),
        books.moved(first, -41_300),
        books.moved(first),
        books.moved(second),
        books.moved(first, -9_000_000, trade_no="", business="充值"),
    )
    assert (done.lines, done.new_lines, done.new_breaks, done.known) == (5, 5, 0, False)
    assert books.lines() == ["matched"] * 4 + ["other"]
    assert books.open() == []
    books.audited()


@pytest.mark.parametrize("make", [account_bill, trades_bill])
def test_the_same_bill_twice_doubles_nothing(books: Books, make: Any) -> None:
    order_no = books.orders.settled()
    lines = (books.moved(order_no), books.moved(order_no, 500, trade_no="unknown"))
    begins = (books.now - timedelta(hours=5)).replace(microsecond=0)
    content = make(lines, begins, books.now).encode("gbk")
    first = upload_bill(books.house.write, "a.csv", content, BOB)
    again = upload_bill(books.house.write, "b.csv", content, BOB)
    assert (first.new_lines, first.new_breaks) == (2, 1)
    assert (again.known, again.bill_id, again.new_lines, again.new_breaks) == (True, first.bill_id, 0, 0)
    other_file = make((*lines, books.moved(order_no, 700, trade_no="other")), begins, books.now).encode("gbk")
    more = upload_bill(books.house.write, "c.csv", other_file, BOB)
    assert (more.known, more.new_lines, more.new_breaks) == (False, 1, 1)
    assert books.lines() == ["matched", "unmatched", "unmatched"]
    assert len(books.open()) == 2


def test_every_kind_of_break_is_one_task_that_says_what_is_wrong(books: Books) -> None:
    differs, twice, refused, missing, refunded = (books.orders.settled() for _ in range(5))
    books.house.clock.move(2 * 3600)  # what was just paid need not be on the bill yet
    books.refund(refunded, "r1", 1000)
    unpaid = books.orders.in_doubt()
    purchase = books.orders.purchase(unpaid)

    def refuse(tx: Any) -> None:
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        endings.conclude_unpaid(tx, purchase, attempt, "refused", Reason.PAY_REFUSED, "", actor="system:payment")

    books.house.write(refuse)
    books.upload(
        books.moved(differs, PRICE_FEN + 1200),
        books.moved(twice),
        books.moved(twice),
        books.moved(refused),
        books.moved(refunded),
        books.moved(refunded, -1100),
        books.moved(unpaid),
        books.moved(refused, -50),
        books.moved(refused, 77, trade_no="nobody's"),
    )
    assert sorted(books.open(), key=str) == sorted(
        [
            ("differs", differs, PRICE_FEN, PRICE_FEN + 1200),
            ("only_there", twice, None, PRICE_FEN),
            ("differs", refunded, 1000, 1100),
            ("only_there", unpaid, None, PRICE_FEN),
            ("only_there", refused, None, 50),
            ("only_there", None, None, 77),
            ("only_here", missing, PRICE_FEN, None),
        ],
        key=str,
    )
    found = {(one["order_no"], one["amount_fen"]): one for one in books.house.read(queries_tasks.list_tasks)}
    assert found[differs, 1200]["agent"] == AGENT
    assert "核实" in found[unpaid, PRICE_FEN]["reason"]
    assert {one["kind"] for one in found.values()} == {"reconciliation_break"}
    books.audited()


def test_what_a_later_bill_shows_closes_by_itself(books: Books) -> None:
    order_no = books.orders.settled()
    books.house.clock.move(2 * 3600)
    books.upload()
    assert books.open() == [("only_here", order_no, PRICE_FEN, None)]
    books.upload(books.moved(order_no), name="late.csv")
    assert books.open() == []
    (task,) = books.house.read(lambda tx: tasks.find(tx, open_only=False))
    assert (task.closed_by, task.resolution, task.evidence) == (BOB, "matched", "账单 late.csv")
    books.audited()


def test_a_payment_in_doubt_is_no_break_until_it_is_called_unpaid(books: Books) -> None:
    order_no = books.orders.in_doubt()
    books.upload(books.moved(order_no))
    assert (books.lines(), books.open()) == (["in_flight"], [])
    purchase = books.orders.purchase(order_no)

    def conclude(tx: Any) -> None:
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        endings.conclude_unpaid(tx, purchase, attempt, "refused", Reason.PAY_REFUSED, "", actor="system:payment")

    books.house.write(conclude)
    assert compare_again(books.house.write, BOB, "again") == 1
    assert books.open() == [("only_there", order_no, None, PRICE_FEN)]


def test_a_refund_is_found_by_the_payments_own_number(books: Books) -> None:
    order_no = books.orders.settled()
    books.refund(order_no, "r1", 900)
    paid = books.moved(order_no, alipay_no="2014111700001000")
    books.upload(books.moved(order_no, -900, trade_no="refund-7", alipay_no="2014111700001000"), paid)
    assert books.lines() == ["matched", "matched"]


def test_refunds_that_arrive_later_are_given_to_their_lines(books: Books) -> None:
    order_no = books.orders.settled()
    books.refund(order_no, "r1", 800)
    books.upload(books.moved(order_no), books.moved(order_no, -900), books.moved(order_no, -800))
    assert books.lines() == ["matched", "unmatched", "matched"]
    books.refund(order_no, "r2", 950)
    compare_again(books.house.write, BOB, "again")
    assert books.open() == [("differs", order_no, 950, 900)]
    books.refund(order_no, "r3", 900)
    compare_again(books.house.write, BOB, "again")
    assert books.lines() == ["matched"] * 3
    assert books.open() == []


def test_what_a_person_closed_stays_closed(books: Books) -> None:
    books.upload(books.moved("", 77, trade_no="nobody's"))
    (task,) = books.house.read(tasks.find)

    books.house.write(lambda tx: operations.close_task(tx, task.id, "银行手续费", "账单第 6 行", BOB))
    compare_again(books.house.write, BOB, "again")
    assert books.open() == []
    with pytest.raises(Exception, match="没有待处理的对账差异"):
        books.house.write(lambda tx: note_break(tx, 1, "late", BOB))


def test_the_other_layout_of_the_same_days_is_refused(books: Books) -> None:
    books.upload(books.moved("", 77, trade_no="x"))
    other = trades_bill([], books.now - timedelta(hours=1), books.now).replace(
        "rail-payer@example.com", "20880000000000010156"
    )
    with pytest.raises(Refused, match="另一种格式"):
        upload_bill(books.house.write, "t.csv", other.encode(), BOB)


def test_a_bill_that_can_not_be_read_stores_nothing_and_says_why(books: Books) -> None:
    with pytest.raises(Refused, match="账单没有读入。没有找到列名"):
        upload_bill(books.house.write, "x.csv", b"hello", BOB)
    assert books.lines() == []
