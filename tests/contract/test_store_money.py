"""Money as people read it, on both databases: balances at any moment are the ledger's, and a bill is compared alike."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from pipeline.ledger import Account, freeze, hold, post, top_up, unfreeze
from pipeline.operations_reconciliation import upload_bill
from pipeline.store import ledger
from pipeline.store.clock import now
from pipeline.store.engine import Store
from pipeline.store.queries_funds import funds_of_all, statement, trial_balance
from pipeline.store.queries_reconciliation import BreakFilter, page_of_bills, page_of_breaks, page_of_lines
from pipeline.store.tables import ledger_entries, ledger_postings
from tests.contract.store_subjects import AGENT, paying, read, sql, worker, write
from tests.unit.bill_world import Moved, account_bill

OTHER = "other"
DAY = timedelta(days=1)


def busy(store: Store, orders: int = 30) -> datetime:
    """Orders of two agents through the ledger, each a minute after the one before, so that many entries share their time with others of
    their posting. Returns the moment of the last."""
    write(store, ledger.apply, [top_up(agent, f"{agent}:t", 50_000_000, "充值") for agent in (AGENT, OTHER)])
    for number in range(orders):
        agent, order_no, attempt = (AGENT, OTHER)[number % 3 == 0], f"o{number}", f"o{number}:1:1"
        paid = 100_000 + number
        write(store, ledger.apply, [freeze(agent, order_no, 128_400), hold(agent, order_no, attempt, paid)])
        write(
            store,
            ledger.apply,
            [post(agent, order_no, attempt, paid, paid - 7), unfreeze(agent, order_no, 128_400, paid)],
        )
    minute = 60_000_000
    sql(store, f"UPDATE ledger_postings SET at = at - (1000 - id / 4) * {minute}")  # noqa: S608 - a number of ours
    sql(store, "UPDATE ledger_entries SET at = (SELECT p.at FROM ledger_postings p WHERE p.key = posting_key)")
    last: datetime = store.read(lambda tx: tx.run(select(func.max(ledger_postings.c.at))).scalar_one())
    return last


def by_hand(store: Store, agent: str, account: Account, until: datetime) -> int:
    query = select(ledger_entries).where(ledger_entries.c.agent == agent, ledger_entries.c.account == account.value)
    return sum(row.amount_fen for row in store.read(lambda tx: tx.rows(query)) if row.at < until)


def whole_statement(store: Store, account: Account, since: datetime, until: datetime, limit: int) -> dict[str, Any]:
    """All pages of it as one."""
    first: dict[str, Any] = read(store, statement, AGENT, account, since, until, limit=limit)
    following = first["next"]
    while following is not None:
        page = read(store, statement, AGENT, account, since, until, following, limit)
        assert (page["opening_fen"], page["closing_fen"]) == (first["opening_fen"], first["closing_fen"])
        first["rows"] += page["rows"]
        following = page["next"]
    return first


@pytest.mark.parametrize("account", [Account.PROCUREMENT, Account.IN_FLIGHT, Account.RAILWAY, Account.USER])
def test_a_statement_runs_from_its_opening_to_its_closing_balance(store: Store, account: Account) -> None:
    last = busy(store)
    since, until = last - timedelta(minutes=20), last - timedelta(minutes=3)
    seen = whole_statement(store, account, since, until, 4)
    assert (seen["opening_fen"], seen["closing_fen"]) == (
        by_hand(store, AGENT, account, since),
        by_hand(store, AGENT, account, until),
    )
    running = seen["opening_fen"]
    for row in seen["rows"]:
        running += row["amount_fen"]
        assert row["balance_fen"] == running
    assert (running, len(seen["rows"])) == (seen["closing_fen"], seen["entries"])
    assert len(seen["rows"]) > 8


def test_the_last_balance_is_the_running_one_and_the_trial_balance_is_zero(store: Store) -> None:
    last = busy(store)
    after = last + DAY
    balances = read(store, ledger.balances, AGENT)
    for account, fen in balances.items():
        assert whole_statement(store, account, last - DAY, after, 50)["closing_fen"] == fen
    for moment in (last - DAY, last - timedelta(minutes=7), last, after):
        seen = read(store, trial_balance, moment)
        assert seen["sum_fen"] == 0
        for one in seen["agents"]:
            for account in Account:
                assert one[f"{account.value}_fen"] == by_hand(store, one["agent"], account, moment)
        own = read(store, trial_balance, moment, AGENT)
        assert own["agents"] == [one for one in seen["agents"] if one["agent"] == AGENT]


def test_an_entry_has_its_postings_time(store: Store) -> None:
    write(store, ledger.apply, [top_up(AGENT, f"t{number}", 100, "") for number in range(5)])
    query = select(ledger_entries.c.at, ledger_postings.c.at.label("posted")).join(
        ledger_postings, ledger_postings.c.key == ledger_entries.c.posting_key
    )
    rows = store.read(lambda tx: tx.rows(query))
    assert len(rows) == 10
    assert all(row.at == row.posted for row in rows)


def test_what_waits_to_be_paid_is_held_against_the_fund(store: Store) -> None:
    sql(
        store,
        "INSERT INTO agents (code, callback_url, merchant_key_sealed, webhook_secret_sealed, created_at) VALUES (:a, '', '', '', 0)",
        a=AGENT,
    )
    assert [one["level"] for one in read(store, funds_of_all, 500_000)] == ["fine"]  # it has never used procurement
    write(store, ledger.apply, [top_up(AGENT, "t", 200_000, "")])
    assert [one["level"] for one in read(store, funds_of_all, 100_000)] == ["fine"]
    write(store, worker)
    for number in range(2):
        write(store, paying, f"o{number}", hold=f"E{number}")
    (one,) = read(store, funds_of_all, 100_000)
    assert (one["waiting"], one["waiting_fen"], one["left_fen"], one["level"]) == (2, 256_800, -56_800, "short")
    write(store, ledger.apply, [top_up(AGENT, "u", 60_000, "")])
    assert [one["level"] for one in read(store, funds_of_all, 100_000)] == ["low"]
    assert [one["level"] for one in read(store, funds_of_all, 3_000)] == ["fine"]


def test_a_bill_in_more_parts_than_one_is_compared_and_read_again(store: Store) -> None:
    moment = read(store, now)
    lines = [Moved(f"T{number}", number + 1, moment, f"{number:014d}") for number in range(1_200)]
    content = account_bill(lines, moment - DAY, moment).encode("gbk")
    for known in (False, True):
        done = upload_bill(lambda work: store.write(work).value, "bill.csv", content, "human:ann")
        assert (done.known, done.lines, done.new_lines, done.new_breaks) == (
            known,
            1200,
            0 if known else 1200,
            0 if known else 1200,
        )
    (bill,) = read(store, page_of_bills).rows
    assert (bill["unmatched"], bill["known_before"]) == (1200, 0)
    assert [row["line_no"] for row in read(store, page_of_lines, bill["id"], None, limit=3).rows] == [6, 7, 8]
    assert len(read(store, page_of_breaks, BreakFilter(), limit=2000).rows) == 1200
