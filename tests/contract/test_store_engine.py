"""Transactions on both databases: what is retried, what a lost connection means, and which set-ups are refused at start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline.store import attempts, control, session
from pipeline.store.engine import CommitUnknown, Store, StoreUnavailable, Transaction, UnsafeDatabase, open_store
from tests.contract.store_subjects import (
    HandClock,
    count,
    fund,
    opened,
    paying,
    read,
    sql,
    value,
    worker,
    write,
)

PATIENCE_S = 20.0


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    with opened(f"sqlite:///{tmp_path / 'store.sqlite3'}") as opened_store:
        yield opened_store


def test_what_raises_leaves_nothing(store: Store) -> None:
    def fails(tx: Transaction) -> None:
        control.set_meta(tx, "a", "1")
        raise LookupError

    with pytest.raises(LookupError):
        store.write(fails)
    assert count(store, "meta") == 0


def test_what_is_only_read_is_rolled_back(store: Store) -> None:
    store.read(lambda tx: control.set_meta(tx, "a", "1"))
    assert count(store, "meta") == 0


def test_a_defect_stays_what_it_is(store: Store) -> None:
    write(store, control.set_meta, "a", "1")
    with pytest.raises(IntegrityError):
        sql(store, "INSERT INTO meta (name, value) VALUES ('a', '2')")
    with pytest.raises(DBAPIError) as caught:
        sql(store, "SELECT nothing FROM nowhere")
    assert not isinstance(caught.value, StoreUnavailable)


def lose_answers_of_commits(store: Store, monkeypatch: pytest.MonkeyPatch, *, stored: bool) -> None:
    """The next COMMIT is sent, or not, and its answer never comes."""
    commit = store.engine.dialect.do_commit

    def lost(connection: Any) -> None:
        monkeypatch.undo()
        if stored:
            commit(connection)
        raise store.engine.dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store.engine.dialect, "do_commit", lost)


@pytest.mark.parametrize("stored", [True, False])
def test_a_commit_whose_answer_was_lost_is_known_by_reading_again(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    write(store, worker)
    write(store, fund)
    subject = write(store, paying, "o1")
    lose_answers_of_commits(store, monkeypatch, stored=stored)
    with pytest.raises(CommitUnknown):
        write(store, attempts.record_intent, subject.intent)
    assert read(store, attempts.is_recorded, subject.intent.attempt_id, subject.intent.fence) is stored


def test_a_backend_that_dies_during_the_commit_leaves_it_unknown(fresh_database: str) -> None:
    with opened(fresh_database) as store:
        sql(
            store,
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
        )
        sql(
            store,
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON meta DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION die()",
        )
        with pytest.raises(CommitUnknown):
            write(store, control.set_meta, "a", "1")
        assert count(store, "meta") == 0


def test_a_connection_that_breaks_off_before_the_commit_stored_nothing(postgresql: Store) -> None:
    def dies(tx: Transaction) -> None:
        control.set_meta(tx, "a", "1")
        tx.run(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreUnavailable) as caught:
        postgresql.write(dies)
    assert not isinstance(caught.value, CommitUnknown)
    assert count(postgresql, "meta") == 0, "and the next transaction has a new connection"


def test_a_connection_that_broke_while_it_rested_is_replaced_unseen(
    postgresql: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RESTED_S", 0.0)
    name = postgresql.read(lambda tx: tx.run(text("SELECT pg_backend_pid()")).scalar_one())
    other = open_store(postgresql.engine.url.render_as_string(hide_password=False), HandClock(), pool_size=1)
    other.read(lambda tx: tx.run(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": name}))
    other.close()
    assert postgresql.read(lambda tx: tx.run(text("SELECT pg_backend_pid()")).scalar_one()) != name


def test_of_two_transactions_in_a_deadlock_both_are_done(postgresql: Store) -> None:
    write(postgresql, control.set_meta, "a", "0")
    write(postgresql, control.set_meta, "b", "0")
    both_have_one = threading.Barrier(2)
    tries = {"ab": 0, "ba": 0}

    def crosswise(first: str, second: str) -> None:
        def cross(tx: Transaction) -> None:
            tries[first + second] += 1
            for name in (first, second):
                tx.run(text("UPDATE meta SET value = value || :who WHERE name = :n"), {"n": name, "who": first})
                if name == first and tries[first + second] == 1:
                    both_have_one.wait(PATIENCE_S)

        postgresql.write(cross)

    threads = [threading.Thread(target=crosswise, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tries.values()) == [1, 2]
    assert sorted(value(postgresql, "SELECT value FROM meta WHERE name = 'a'")) == ["0", "a", "b"]
    assert sorted(value(postgresql, "SELECT value FROM meta WHERE name = 'b'")) == ["0", "a", "b"]


def test_an_unreachable_server_is_named_as_that(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        open_store("postgresql://nobody@127.0.0.1:1/none", HandClock())
    with pytest.raises(StoreUnavailable):
        open_store(f"sqlite:///{tmp_path}", HandClock())


def test_postgresql_that_may_forget_a_commit_is_refused(fresh_database: str) -> None:
    engine = create_engine(fresh_database)
    with engine.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{engine.url.database}" SET synchronous_commit = off'))
    engine.dispose()
    with pytest.raises(UnsafeDatabase, match="synchronous_commit"):
        open_store(fresh_database, HandClock())


def test_sqlite_syncs_every_commit(sqlite: Store) -> None:
    assert value(sqlite, "PRAGMA journal_mode") == "wal"
    assert value(sqlite, "PRAGMA synchronous") == 2  # FULL


def test_another_database_is_refused_by_name() -> None:
    with pytest.raises(UnsafeDatabase, match="mysql"):
        open_store("mysql://localhost/daifu", HandClock())


def test_reading_never_waits_for_a_writer(store: Store) -> None:
    writing, done = threading.Event(), threading.Event()

    def slow(tx: Transaction) -> None:
        control.set_meta(tx, "a", "1")
        writing.set()
        assert done.wait(PATIENCE_S)

    writer = threading.Thread(target=lambda: store.write(slow))
    writer.start()
    assert writing.wait(PATIENCE_S)
    seen = count(store, "meta")
    done.set()
    writer.join()
    assert (seen, count(store, "meta")) == (0, 1)


def test_many_writers_on_sqlite_wait_for_each_other(sqlite: Store) -> None:
    write(sqlite, control.set_meta, "n", "0")

    def add(tx: Transaction) -> None:
        control.set_meta(tx, "n", str(int(control.get_meta(tx, "n") or 0) + 1))

    threads = [threading.Thread(target=lambda: [sqlite.write(add) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(sqlite, control.get_meta, "n") == "40"
