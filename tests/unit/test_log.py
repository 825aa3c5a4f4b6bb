"""Logs say where something went wrong, and never what was being stored: that may be an ID number."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog
from pydantic import BaseModel
from sqlalchemy import insert, text

from pipeline import log
from pipeline.store.engine import DatabaseError, Store, open_store
from pipeline.store.tables import metadata, orders
from tests.unit.desk_world import START, StillClock

ID_NO = "000000190001010000"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'log.sqlite3'}", StillClock())
    metadata.create_all(store.engine)
    yield store
    store.close()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a process writes on stderr."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    log.set_up()
    yield written
    structlog.reset_defaults()


def refused(store: Store) -> DatabaseError:
    """A row that a constraint refuses."""
    row = {
        "order_no": "o1", "agent": "a", "joint_trip": False, "details": {"id_no": ID_NO}, "fare_fen": 1, "frozen_fen": 2,
        "departure_at": START, "paid_at": START, "created_at": START, "updated_at": START,
    }  # fmt: skip
    with pytest.raises(DatabaseError) as caught:
        store.write(lambda tx: tx.run(insert(orders).values(**row)))
    return caught.value


def test_a_database_error_is_logged_without_the_row_it_refused(store: Store, lines: io.StringIO) -> None:
    try:
        raise RuntimeError("while accepting") from refused(store)
    except RuntimeError:
        structlog.get_logger().exception("item_failed")
    line = json.loads(lines.getvalue())
    assert "sqlalchemy.exc.IntegrityError" in line["exception"]
    assert "in refused" in line["exception"], "where it happened is what a log is for"
    assert line["exception"].endswith("RuntimeError: while accepting")
    assert ID_NO not in lines.getvalue()


def test_what_postgresql_quotes_of_a_row_is_dropped_and_its_sqlstate_kept() -> None:
    class CheckViolation(Exception):
        sqlstate = "23514"

    CheckViolation.__module__ = "psycopg.errors"
    words = log.words_of(CheckViolation(f"DETAIL: Failing row contains ({ID_NO})."))
    assert words == f"psycopg.errors.{CheckViolation.__qualname__}: SQLSTATE 23514\n"


def test_a_validation_error_is_logged_without_what_was_validated(lines: io.StringIO) -> None:
    class Passenger(BaseModel):
        id_no: int

    try:
        Passenger.model_validate({"id_no": f"{ID_NO}X"})
    except ValueError:
        structlog.get_logger().exception("message_failed")
    assert "ValidationError" in lines.getvalue()
    assert ID_NO not in lines.getvalue()


def test_a_person_at_a_terminal_reads_no_more_than_a_file_gets(
    store: Store, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", lines)
    log.set_up()
    try:
        raise refused(store)
    except DatabaseError:
        structlog.get_logger().exception("item_failed")
    assert "IntegrityError" in lines.getvalue()
    assert ID_NO not in lines.getvalue()


def test_a_database_error_keeps_its_parameters_to_itself(store: Store) -> None:
    assert ID_NO not in str(refused(store))
    with pytest.raises(DatabaseError) as caught:
        store.read(lambda tx: tx.rows(text("SELECT nothing_there FROM orders WHERE order_no = :o"), {"o": ID_NO}))
    assert ID_NO not in str(caught.value)


def test_causes_are_logged_before_what_they_led_to() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ExceptionGroup("several", [ValueError("second")]) from error
    except ExceptionGroup as group:
        shown = log.traceback_of(group)
    assert shown.index("KeyError: 'first'") < shown.index("several") < shown.index("ValueError: second")


def test_what_a_task_says_it_is_about_stands_in_its_lines_and_in_no_other_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def call(order: str) -> None:
        log.about(stage="payment", order=order, attempt=None)
        await asyncio.sleep(0)
        structlog.get_logger().warning("odd", attempt="3")

    async def main() -> None:
        await asyncio.gather(call("a"), call("b"))
        structlog.get_logger().warning("plain")

    log.set_up()
    asyncio.run(main())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line.get("order"), line.get("attempt")) for line in lines] == [
        ("odd", "a", "3"),
        ("odd", "b", "3"),
        ("plain", None, None),
    ]


def test_a_line_is_one_line_with_its_time_in_utc_whatever_its_fields_hold(lines: io.StringIO) -> None:
    """Nobody outside can begin a line of their own, or move the terminal of who reads the file."""
    evil = 'x\n{"event":"forged"}\r\u2028\x1b[2J\x00"'
    structlog.get_logger().warning("door_refused", agent=evil, detail={"path": evil})
    (line,) = lines.getvalue().splitlines(keepends=False)[:1]
    assert lines.getvalue().count("\n") == 1
    assert not any(ord(character) < 32 for character in lines.getvalue().rstrip("\n"))
    said = json.loads(lines.getvalue())
    assert (said["event"], said["agent"], said["detail"]["path"]) == ("door_refused", evil, evil)
    assert line.startswith("{")
    assert datetime.fromisoformat(said["timestamp"]).utcoffset() == timedelta(0)
