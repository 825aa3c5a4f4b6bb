"""A statement that is executed again gives what it gave the first time, on both databases; what is appended is written at the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, MultipleResultsFound

from pipeline.store import history
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.store.ready import MOST_KEPT
from pipeline.store.rows import together
from pipeline.store.tables import history as history_table
from pipeline.store.tables import meta, orders
from pipeline.store.types import one_of
from tests.contract.store_subjects import read, write

THREE_TIMES = range(3)
ORDER = {
    "order_no": "E1",
    "agent": "a",
    "joint_trip": False,
    "details": {"车次": "G1", "100%": None},
    "fare_fen": 5,
    "frozen_fen": 5,
    "departure_at": datetime(2026, 12, 1, 8, 30, tzinfo=UTC),
    "paid_at": datetime(2026, 11, 1, tzinfo=UTC),
    "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    "updated_at": datetime(2026, 11, 1, tzinfo=UTC),
}


def test_rows_are_the_same_each_time(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(orders), ORDER))
    columns = (
        orders.c.order_no,
        orders.c.details,
        orders.c.departure_at,
        orders.c.closure,
        func.avg(orders.c.fare_fen).over(),
    )
    query = select(*columns).where(one_of(orders.c.order_no), orders.c.agent == "a")
    seen = [read(store, lambda tx: tx.rows(query, {"keys": ["E1", "E2"]})) for _ in THREE_TIMES]
    for (row,) in seen:
        assert tuple(row)[:4] == ("E1", ORDER["details"], ORDER["departure_at"], None)
        assert (row.order_no, row.details, float(row[4])) == ("E1", ORDER["details"], 5.0)


def test_a_moment_and_a_document_are_bound_the_same_each_time(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(orders), ORDER))
    change = (
        update(orders)
        .where(orders.c.paid_at == bindparam("paid", type_=orders.c.paid_at.type))
        .values(close_detail={"a": 1})
    )
    for _ in THREE_TIMES:
        assert write(store, lambda tx: tx.moved(change, {"paid": ORDER["paid_at"]})) == 1
    (row,) = read(store, lambda tx: tx.rows(select(orders.c.close_detail)))
    assert row.close_detail == {"a": 1}


def test_a_list_of_the_statements_own_is_the_same_each_time(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(meta), [{"name": name, "value": "1"} for name in "abc"]))
    named = select(meta.c.name).where(meta.c.name.in_(("a", "c")), meta.c.value == bindparam("v")).order_by(meta.c.name)
    for _ in THREE_TIMES:
        assert [row.name for row in read(store, lambda tx: tx.rows(named, {"v": "1"}))] == ["a", "c"]
        assert read(store, lambda tx: tx.rows(named, {"v": "2"})) == []


def test_a_list_that_is_given_each_time_may_be_another(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(meta), [{"name": name, "value": "1"} for name in "abc"]))
    named = select(meta.c.name).where(meta.c.name.in_(bindparam("names", expanding=True))).order_by(meta.c.name)
    for names in ("a", "bc", "abc", ""):
        assert [row.name for row in read(store, lambda tx, names=names: tx.rows(named, {"names": [*names]}))] == [
            *names
        ]


def test_who_listens_for_statements_hears_of_each_and_may_rewrite_it(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(meta), [{"name": name, "value": "1"} for name in "ab"]))
    named = select(meta.c.name).where(meta.c.value == "1").order_by(meta.c.name)
    heard: list[str] = []

    def rewrites(_conn: Any, _cursor: Any, statement: str, params: Any, *_more: Any) -> tuple[str, Any]:
        return statement.replace("ORDER BY meta.name", "ORDER BY meta.name DESC"), params

    def hears(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        heard.extend([statement] if "DESC" in statement else [])

    event.listen(store.engine, "before_cursor_execute", rewrites, retval=True)
    event.listen(store.engine, "after_cursor_execute", hears)
    for n in THREE_TIMES:
        assert [row.name for row in read(store, lambda tx: tx.rows(named))] == ["b", "a"]
        assert len(heard) == n + 1


def test_many_rows_are_whole_each_time_and_the_next_statement_has_its_own(store: Store) -> None:
    rows = [{"name": f"n{n:04d}", "value": "v"} for n in range(MOST_KEPT + 1)]
    write(store, lambda tx: tx.run(insert(meta), rows))
    many, one = select(meta.c.name).order_by(meta.c.name), select(meta.c.value).where(meta.c.name == "n0007")
    names = [row["name"] for row in rows]

    def look(tx: Transaction) -> None:
        for _ in THREE_TIMES:
            assert [row.name for row in tx.rows(many) if row.name in names] == names
            assert [row.value for row in tx.rows(one)] == ["v"]

    read(store, look)


def test_other_parameters_write_other_columns(store: Store) -> None:
    change = update(orders)
    write(store, lambda tx: tx.run(insert(orders), ORDER))
    for given in ({"fare_fen": 7}, {"fare_fen": 8, "agent": "b"}, {"fare_fen": 9}):
        assert write(store, lambda tx, given=given: tx.moved(change, given)) == 1
    (row,) = read(store, lambda tx: tx.rows(select(orders.c.fare_fen, orders.c.agent)))
    assert tuple(row) == (9, "b")


def test_one_row_is_one_row_at_most_each_time(store: Store) -> None:
    write(store, lambda tx: tx.run(insert(meta), [{"name": name, "value": "1"} for name in "ab"]))
    named = select(meta.c.value).where(meta.c.name >= bindparam("n"))
    for _ in THREE_TIMES:
        assert read(store, lambda tx: tx.one(named, {"n": "c"})) is None
        assert read(store, lambda tx: tx.one(named, {"n": "b"})) == ("1",)
        with pytest.raises(MultipleResultsFound):
            read(store, lambda tx: tx.one(named, {"n": "a"}))


def test_a_constraint_is_an_integrity_error_each_time_and_the_transaction_goes_on(store: Store) -> None:
    add = insert(meta).values(name=bindparam("n"), value="1")

    def twice(tx: Transaction) -> int:
        refused = 0
        for _ in THREE_TIMES:
            try:
                with tx.savepoint():
                    tx.moved(add, {"n": "a"})
            except IntegrityError:
                refused += 1
        return refused

    assert write(store, twice) == 2
    assert len(read(store, lambda tx: tx.rows(select(meta)))) == 1


def test_a_connection_that_breaks_off_is_named_as_that_and_replaced(postgresql: Store) -> None:
    asks = select(func.count()).select_from(meta)

    def broken(tx: Transaction) -> Any:
        for _ in THREE_TIMES:
            tx.rows(asks)
        pid = tx.run(text("SELECT pg_backend_pid()")).scalar_one()
        postgresql.read(lambda other: other.run(text(f"SELECT pg_terminate_backend({pid})")))
        return tx.rows(asks)

    with pytest.raises(StoreUnavailable):
        postgresql.write(broken)
    assert read(postgresql, lambda tx: tx.rows(asks)) == [(0,)]


def test_what_is_appended_is_written_at_the_end_in_its_order(store: Store) -> None:
    def appends(tx: Transaction) -> None:
        for n in THREE_TIMES:
            history.tell(tx, "E1", f"event_{n}", "test")
        assert tx.rows(select(history_table)) == []

    write(store, appends)
    told = read(store, lambda tx: tx.rows(select(history_table.c.what).order_by(history_table.c.id)))
    assert [row.what for row in told] == ["event_0", "event_1", "event_2"]


def test_what_a_savepoint_took_back_is_not_appended(store: Store) -> None:
    def appends(tx: Transaction) -> None:
        history.tell(tx, "E1", "stays", "test")
        try:
            with tx.savepoint():
                history.tell(tx, "E1", "goes", "test")
                raise LookupError
        except LookupError:
            pass

    write(store, appends)
    assert [row.what for row in read(store, lambda tx: tx.rows(select(history_table.c.what)))] == ["stays"]


def test_a_line_told_earlier_stays_before_one_that_a_group_of_inserts_could_take_along(store: Store) -> None:
    def tells(tx: Transaction) -> None:
        history.tell(tx, "E1", "first", "test")
        with together(tx):
            history.tell(tx, "E1", "second", "test")

    write(store, tells)
    told = read(store, lambda tx: tx.rows(select(history_table.c.what).order_by(history_table.c.id)))
    assert [row.what for row in told] == ["first", "second"]
