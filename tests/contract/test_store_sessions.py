"""A PostgreSQL session whose owner has vanished, or sleeps, in the middle of a transaction: nobody waits for it for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pipeline.clock import WallClock
from pipeline.store import control, session
from pipeline.store.engine import Store, StoreUnavailable, Transaction, open_store
from tests.contract.store_subjects import opened, opened_again

SHORT_S = 0.5


@pytest.fixture
def stores(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Store]]:
    """Two processes on one database, with a short limit for silent transactions."""
    usual = session.connect_args

    def impatient(options: str = "", *, by_index: bool = False) -> dict[str, Any]:
        return usual(options, by_index=by_index, idle_in_transaction_s=SHORT_S)

    monkeypatch.setattr(session, "connect_args", impatient)
    with opened(fresh_database) as one, opened_again(fresh_database) as other:
        yield one, other


def test_a_transaction_that_fell_silent_frees_its_rows_and_is_not_stored(stores: tuple[Store, Store]) -> None:
    silent, busy = stores
    silent.write(lambda tx: control.set_meta(tx, "a", "before"))
    locked, gone_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def fall_silent(tx: Transaction) -> None:
        tx.run(text("UPDATE meta SET value = 'silent' WHERE name = 'a'"))
        locked.set()
        assert gone_on.wait(30)

    def run() -> None:
        try:
            silent.write(fall_silent)
        except StoreUnavailable as error:
            raised.append(error)

    sleeper = threading.Thread(target=run)
    sleeper.start()
    assert locked.wait(10)
    began = time.monotonic()
    busy.write(lambda tx: tx.run(text("UPDATE meta SET value = 'busy' WHERE name = 'a'")))
    assert time.monotonic() - began < 20 * SHORT_S
    gone_on.set()
    sleeper.join(30)
    assert len(raised) == 1, "who fell silent learns that nothing was stored"
    assert busy.read(lambda tx: control.get_meta(tx, "a")) == "busy"
    silent.write(lambda tx: control.set_meta(tx, "a", "after"))
    assert busy.read(lambda tx: control.get_meta(tx, "a")) == "after"


def test_every_session_has_limits_for_silence_and_the_urls_own_options_win(fresh_database: str) -> None:
    def limits(tx: Transaction) -> dict[str, str]:
        names = ("idle_in_transaction_session_timeout", "tcp_keepalives_idle", "tcp_user_timeout")
        return {name: str(tx.run(text(f"SHOW {name}")).scalar_one()) for name in names}

    with opened(fresh_database) as store:
        assert store.read(limits) == {
            "idle_in_transaction_session_timeout": "30s",
            "tcp_keepalives_idle": "15",
            "tcp_user_timeout": "30000",
        }
    with opened_again(f"{fresh_database}?options=-c%20idle_in_transaction_session_timeout%3D5000") as store:
        assert store.read(limits)["idle_in_transaction_session_timeout"] == "5s"


OF_PURCHASES = "SELECT state FROM purchases WHERE id = ANY($1)"


def kept_plan(store: Store, question: str) -> str:
    """The plan that a prepared statement is executed by until its table is next analyzed."""

    def plan(tx: Transaction) -> str:
        tx.run(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        tx.run(text(f"PREPARE asked(text[]) AS {question}"))
        lines = [row[0] for row in tx.rows(text("EXPLAIN EXECUTE asked('{a,b}')"))]
        tx.run(text("DEALLOCATE asked"))
        return "\n".join(lines)

    return store.write(plan).value


@pytest.mark.parametrize(
    "question",
    [
        OF_PURCHASES,
        "UPDATE purchases SET state = 'paying' WHERE id = ANY($1)",
        "SELECT key FROM work WHERE key = ANY($1)",
        "UPDATE results SET sent_at = 0 WHERE row_key = ANY($1)",
        "SELECT refused_tries FROM railway_accounts WHERE login = ANY($1)",
    ],
)
def test_a_plan_that_was_made_while_a_table_was_new_finds_rows_by_index(fresh_database: str, question: str) -> None:
    with opened(fresh_database), closing(open_store(fresh_database, WallClock(), by_index=True)) as store:
        assert "Seq Scan" not in kept_plan(store, question)


def test_postgresqls_own_costs_would_keep_reading_such_a_table_whole(fresh_database: str) -> None:
    with opened(fresh_database) as store:
        assert "Seq Scan" in kept_plan(store, OF_PURCHASES)


def test_a_stages_statement_is_prepared_when_it_is_first_executed(fresh_database: str) -> None:
    mine = select(func.count()).select_from(text("pg_prepared_statements")).where(text("NOT from_sql"))
    with opened(fresh_database) as store:
        assert store.read(lambda tx: tx.run(mine).scalar_one()) == 0
    with closing(open_store(fresh_database, WallClock(), by_index=True)) as store:
        assert store.read(lambda tx: tx.run(mine).scalar_one()) > 0
