"""Expand and contract: the tables are brought forward while the processes of the version before still run (DESIGN section 7)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from pipeline.cli.house import NotReady, open_house
from pipeline.clock import WallClock
from pipeline.settings import Settings
from pipeline.store import control, intents, migrate, revision, work
from pipeline.store.engine import Store, open_store
from tests.contract.store_subjects import fund, paying, sql, worker, write

FIRST_CHECKED = (
    "0011"  # from here on a database says which code it still works with; code before it starts on its own tables only
)
VERSIONS = Path(revision.__file__).with_name("migrations") / "versions"
NEWER = [name for path in sorted(VERSIONS.glob("[0-9]*.py")) if (name := path.name.partition("_")[0]) >= FIRST_CHECKED]


def shape(connection: Connection) -> dict[str, dict[str, Any]]:
    """Per table: its columns with type, nullability and whether they have a default; and what an INSERT must satisfy."""
    inspector = inspect(connection)
    found = {}
    for table in inspector.get_table_names():
        columns = {
            it["name"]: (str(it["type"]), it["nullable"], it["default"] is not None or it.get("autoincrement") is True)
            for it in inspector.get_columns(table)
        }
        unique = {tuple(it["column_names"]) for it in inspector.get_unique_constraints(table)}
        unique |= {tuple(map(str, it["column_names"])) for it in inspector.get_indexes(table) if it["unique"]}
        checks = {str(it["sqltext"]) for it in inspector.get_check_constraints(table)}
        found[table] = {"columns": columns, "stricter": unique | checks}
    return found


def taken_away(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """What the statements of the version before would miss or be refused for."""
    told = [f"table {table} is gone" for table in before if table not in after]
    for table in set(before) & set(after):
        old, new = before[table]["columns"], after[table]["columns"]
        told += [f"{table}.{name} is gone or changed" for name in old if new.get(name) != old[name]]
        told += [
            f"{table}.{name} must be given"
            for name, (_kind, nullable, filled) in new.items()
            if name not in old and not nullable and not filled
        ]
        told += [f"{table}: {rule} is new" for rule in after[table]["stricter"] - before[table]["stricter"]]
    return told


def test_a_newer_migration_only_adds_or_says_which_code_it_leaves_behind(fresh_database: str) -> None:
    store = open_store(fresh_database, WallClock())

    def to(name: str) -> tuple[dict[str, dict[str, Any]], str | None]:
        def run(connection: Connection) -> dict[str, dict[str, Any]]:
            command.upgrade(migrate.config(connection), name)
            return shape(connection)

        found = store.write(lambda tx: run(tx.connection)).value
        return found, store.read(lambda tx: control.get_meta(tx, revision.OLDEST_CODE))

    before, _ = to(_parent(min(NEWER)))
    for name in NEWER:
        after, oldest = to(name)
        told = taken_away(before, after)
        assert not told or oldest == name, f"{name} takes away, and meta's oldest_code does not say so: {told}"
        before = after
    store.close()


def _parent(name: str) -> str:
    (path,) = VERSIONS.glob(f"{name}_*.py")
    (line,) = [it for it in path.read_text().splitlines() if it.startswith("down_revision")]
    return line.partition('"')[2].rstrip('"')


EXPANSION = (
    "ALTER TABLE orders ADD COLUMN tomorrow text",
    "ALTER TABLE work ADD COLUMN tomorrow bigint NOT NULL DEFAULT 0",
    "CREATE TABLE tomorrow (id bigint PRIMARY KEY)",
    "CREATE INDEX work_tomorrow ON work (tomorrow)",
    "UPDATE alembic_version SET version_num = '9999'",
)


def test_workers_of_today_go_on_while_the_tables_become_those_of_tomorrow(fresh_database: str) -> None:
    """Under load: rows are made, claimed and finished by threads of this version, before, during and after."""
    migrate.upgrade(fresh_database)
    store = open_store(fresh_database, WallClock(), pool_size=6)
    write(store, worker)
    write(store, fund, 10_000_000_000)
    stop, failures, finished = threading.Event(), list[BaseException](), list[int]()

    def live(nth: int) -> None:
        try:
            turn = 0
            while not stop.is_set():
                _pay_one(store, f"o{nth}-{turn}")
                turn += 1
            finished.append(turn)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=live, args=(nth,)) for nth in range(4)]
    for it in threads:
        it.start()
    for statement in EXPANSION:
        sql(store, statement)
    for nth in range(20):
        _pay_one(store, f"late-{nth}")
    stop.set()
    for it in threads:
        it.join(60)
    assert failures == []
    assert len(finished) == 4
    assert min(finished) > 0
    store.close()


def _pay_one(store: Store, order_no: str) -> None:
    """By this version's own statements: an order, its purchase, its attempt, its intent with the ledger hold, its work row."""
    hold = f"H{order_no.replace('-', 'X').upper()}"
    held = write(store, paying, order_no, hold)
    assert write(store, intents.record_intent, held.intent) is None
    assert write(store, work.finish, held.row)


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[tuple[Settings, Store]]:
    """A database that a version after this one has brought forward."""
    settings = Settings(home=tmp_path)
    migrate.upgrade(settings.database)
    store = open_store(settings.database, WallClock())
    store.write(lambda tx: tx.run(text("UPDATE alembic_version SET version_num = '9999'")))
    yield settings, store
    store.close()


def test_a_process_of_today_starts_on_tables_that_only_have_more(newer: tuple[Settings, Store]) -> None:
    settings, store = newer
    assert revision.fits(store)
    house = open_house(settings, "test")
    house.store.close()


def test_a_process_of_today_refuses_tables_that_have_left_it_behind(newer: tuple[Settings, Store]) -> None:
    settings, store = newer
    store.write(lambda tx: control.set_meta(tx, revision.OLDEST_CODE, "9999"))
    with pytest.raises(
        NotReady, match=r"tables are at 9999, and this version works with .* no more: start a newer one"
    ):
        open_house(settings, "test")


def test_older_tables_are_brought_forward_first(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    migrate.upgrade(settings.database)
    store = open_store(settings.database, WallClock())
    store.write(lambda tx: tx.run(text("UPDATE alembic_version SET version_num = '0001'")))
    with pytest.raises(NotReady, match="tables are at 0001; run `daifu db upgrade` first"):
        open_house(settings, "test")
    store.close()
