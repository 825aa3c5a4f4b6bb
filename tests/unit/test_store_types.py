"""What statements over keys become: an index is used, on SQLite too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Select, Update, create_engine, select, text, update
from sqlalchemy.dialects import postgresql

from pipeline.store.tables import metadata, orders
from pipeline.store.types import LATELY, Instant, one_of

MOMENT = datetime(2026, 11, 29, 12, 0, 0, 1, tzinfo=UTC)
AMONG = one_of(orders.c.order_no)
STATEMENTS: list[Select[Any] | Update] = [
    select(orders.c.agent).where(AMONG),
    select(orders.c.agent).where(AMONG, orders.c.agent == "x"),
    update(orders).where(AMONG).values(fare_fen=0),
    update(orders).where(AMONG & (orders.c.fare_fen > 0)).values(fare_fen=0),
]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(len(STATEMENTS)))
def test_rows_named_by_keys_are_looked_up_and_not_searched_for(engine: Engine, statement: Select[Any] | Update) -> None:
    compiled = str(statement.compile(dialect=engine.dialect))
    with engine.connect() as connection:
        given = dict.fromkeys(range(compiled.count("?")), "x")
        query = compiled
        for place in given:
            query = query.replace("?", f":p{place}", 1)
        values = {f"p{place}": value for place, value in given.items()}
        plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"), values)]
    assert any(line.startswith("SEARCH orders USING") for line in plan), plan


def test_on_postgresql_keys_are_one_array() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
    written = str(select(orders.c.agent).where(AMONG).compile(dialect=dialect))
    assert written.endswith("orders.order_no = ANY (%(keys)s::TEXT[])")


def test_moments_come_back_as_they_were_however_many_there_are(engine: Engine) -> None:
    instant = Instant()
    read = instant.result_processor(engine.dialect, None)
    many = [MOMENT + n * timedelta(microseconds=7) for n in range(2 * LATELY + 1)]
    stored = [instant.process_bind_param(moment, engine.dialect) for moment in many]
    found = [read(us) for us in stored]
    assert found == many
    assert all(moment is not None and moment.tzinfo is UTC for moment in found)
    assert read(None) is None
