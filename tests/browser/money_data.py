"""A month of money: a thousand settled orders, written by SQL as the pipeline would have left them, and a bill that does not agree."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import text

from pipeline import operations
from pipeline.ledger import freeze, hold, post, unfreeze
from pipeline.refunds import book_refunds
from pipeline.store import inbox, ledger, orders
from pipeline.store.engine import Transaction
from tests.unit.bill_world import Moved, account_bill, day_of
from tests.unit.console_data import FARE_FEN, PRICE_FEN, Orders
from tests.unit.console_house import AGENT, House
from tests.unit.message_samples import ORDER, TICKET

MANY = 1_000
HOURS_APART = 0.6


def make_many(house: House, many: int = MANY, agent: str = AGENT) -> None:
    """Orders settled over the last weeks, each with its payment in the ledger, its tickets and now and then a refund."""
    now = house.clock.now()
    seats = ("5", "6", "7")

    def some(tx: Transaction, first: int, last: int) -> None:
        rows, postings, attempts = [], [], []
        for number in range(first, last):
            order_no, at = f"{agent}m{number:06d}", now - timedelta(hours=HOURS_APART * number)
            paid = PRICE_FEN - number % 7 * 100
            details = ORDER | {"order_no": order_no, "agent": agent, "ordered_at": at.isoformat()}
            tickets = [TICKET | {"ticket_no": f"E{number:09d}", "seat_type": seat} for seat in seats]
            rows.append(_order(order_no, agent, details, tickets, at))
            attempts.append(_payment(number, order_no, agent, paid, at))
            attempt = f"{order_no}:1:1"
            postings += [
                freeze(agent, order_no, FARE_FEN),
                hold(agent, order_no, attempt, paid),
                post(agent, order_no, attempt, paid, paid),
                unfreeze(agent, order_no, FARE_FEN, paid),
            ]
        orders.insert_orders(tx, rows)
        tx.run(text(PURCHASE), attempts)
        tx.run(text(ATTEMPT), attempts)
        ledger.apply(tx, postings)

    house.write(lambda tx: operations.top_up_fund(tx, agent, PRICE_FEN * (many + 20), "月初充值", "human:alice"))
    for first in range(0, many, 250):
        house.write(lambda tx, first=first: some(tx, first, min(first + 250, many)))
    # A posting's time is the database's: moved to where its payment was.
    house.write(
        lambda tx: tx.run(
            text(
                "UPDATE ledger_postings SET at = (SELECT submitted_at FROM attempts a WHERE a.order_no = ledger_postings.order_no)"
                " WHERE order_no LIKE :made"
            ),
            {"made": f"{agent}m%"},
        )
    )
    began = round((now - timedelta(hours=HOURS_APART * many + 1)).timestamp() * 1_000_000)
    house.write(lambda tx: tx.run(text("UPDATE ledger_postings SET at = :us WHERE note = '月初充值'"), {"us": began}))
    house.write(
        lambda tx: tx.run(
            text("UPDATE ledger_entries SET at = (SELECT p.at FROM ledger_postings p WHERE p.key = posting_key)")
        )
    )


PURCHASE = (
    "INSERT INTO purchases (id, order_no, generation, agent, state, login, held_order_no, stated_fen, paid_fen, unfrozen_fen,"
    " partial_refund_fen, origin, requested_at, accepted_at, stop_at, intent_at, concluded_at, updated_at) VALUES"
    " (:p, :o, 1, :agent, 'settled', :login, :hold, :paid, :paid, :paid, :rest, 'queue', :us, :us, :us, :us, :us, :us)"
)
ATTEMPT = (
    "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at, submitted_at,"
    " concluded_at, amount_fen, debited_fen, trade_no, final_after, proof) VALUES"
    " (:a, :p, :o, 1, 1, 1, :login, :hold, :us, :us, :us, :paid, :paid, :trade, :us, 'paid')"
)


def _payment(number: int, order_no: str, agent: str, paid: int, at: Any) -> dict[str, Any]:
    names = {"o": order_no, "p": f"{order_no}:1", "a": f"{order_no}:1:1", "agent": agent, "paid": paid}
    us = round(at.timestamp() * 1_000_000)
    upstream = {
        "login": f"hxb{1080 + number % 40}@example.com",
        "hold": f"EM{number:08d}",
        "trade": f"W{2014111700000 + number}",
    }
    return names | upstream | {"us": us, "rest": FARE_FEN - paid}


def _order(order_no: str, agent: str, details: Any, tickets: Any, at: Any) -> dict[str, Any]:
    return {
        "order_no": order_no,
        "agent": agent,
        "joint_trip": False,
        "details": details,
        "fare_fen": FARE_FEN,
        "frozen_fen": 0,
        "departure_at": at + timedelta(days=12),
        "paid_at": at,
        "tickets": tickets,
        "generation": 1,
        "result_seq": 0,
        "created_at": at,
        "updated_at": at,
    }


def make_bill(house: House, mine: Orders) -> bytes:
    """Yesterday's and today's payments as Alipay shows them: one with another amount, one missing, two that nobody knows, one in flight."""
    now = house.clock.now()
    begins = day_of(now - timedelta(days=1))[0]
    query = text(
        "SELECT a.order_no, a.trade_no, a.amount_fen, a.submitted_at FROM attempts a WHERE a.submitted_at >= :since"
        " AND a.order_no LIKE :made ORDER BY a.submitted_at"
    )
    since = round(begins.timestamp() * 1_000_000)
    rows = house.read(lambda tx: tx.rows(query, {"since": since, "made": f"{AGENT}m%"}))
    shown = [row for place, row in enumerate(rows) if place != 3]
    at = {row.order_no: begins + timedelta(microseconds=row.submitted_at - since + 9_000_000) for row in shown}
    lines = [
        Moved(
            row.trade_no,
            row.amount_fen + (1200 if place == 5 else 0),
            at[row.order_no],
            f"5463{place:010d}",
            f"20141117{place:08d}",
        )
        for place, row in enumerate(shown)
    ]
    flying = mine.in_doubt()
    lines.append(Moved(f"T{mine.number(flying)}", PRICE_FEN, now, "54640000000001", "2014111790000001"))
    lines.append(Moved("W9", 12_800, now, "54640000000002", "2014111790000002", goods="酒店"))
    refunded = rows[0].order_no
    house.write(lambda tx: inbox.remember_refund(tx, refunded, "r1", AGENT, 41_300, now))
    house.write(lambda tx: book_refunds(tx, [refunded]))
    lines.append(Moved(rows[0].trade_no, -41_300, now, "54640000000003", "2014111790000003"))
    lines.append(Moved(rows[1].trade_no, -4_200, now, "54640000000004", "2014111790000004"))
    lines.append(Moved("", -5_000_000, now, "54640000000005", "2014111790000005", business="充值", goods="余额充值"))
    return account_bill(lines, begins, now).encode("gbk")
