"""The migrations make exactly the tables that the code works with, on both databases, once, however many start at a time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from pipeline.clock import WallClock
from pipeline.store import migrate, revision
from pipeline.store.engine import StoreUnavailable, open_store
from pipeline.store.tables import metadata
from tests.contract.store_subjects import POSTGRESQL, SQLITE, url_of
from tests.services.postgres import PostgresServer

OUR_OWN = "alembic_version"
# What PostgreSQL itself says its tables are: columns, then constraints, then indexes, then triggers.
CATALOGUE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
    " FROM information_schema.columns WHERE table_schema = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
)


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, request, tmp_path)


@pytest.fixture
def other_url(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A second fresh database of the same kind."""
    if url.startswith(SQLITE):
        yield f"sqlite:///{tmp_path / 'other.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


def schema_of(engine: Engine) -> list[tuple[Any, ...]]:
    """Everything the database says about our tables, in an order of its own words."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            found = [tuple(row) for query in CATALOGUE for row in connection.execute(text(query))]
        else:
            rows = connection.execute(text("SELECT tbl_name, name, sql FROM sqlite_master"))
            found = [(table, name, parts_of(sql or "")) for table, name, sql in rows]
    return sorted((row for row in found if row[0] != OUR_OWN), key=str)


def parts_of(sql: str) -> list[str]:
    """A CREATE statement's columns, and its constraints in an order that means nothing."""
    sql = sql.replace('"', "")  # a table that was made anew by a migration is quoted
    words = re.sub(r"DEFAULT \(([^()]*)\)", r"DEFAULT \1", re.sub(r"\s+", " ", sql)).removesuffix(" )")
    return sorted(part.removesuffix(", ") for part in re.split(r"(?=CONSTRAINT )", words))


def test_the_migrated_tables_are_the_tables_of_the_code(url: str, other_url: str) -> None:
    migrate.upgrade(url)
    migrated, created = create_engine(url), create_engine(other_url)
    metadata.create_all(created)
    was_migrated, was_created = schema_of(migrated), schema_of(created)
    migrated.dispose()
    created.dispose()
    assert was_created
    assert was_migrated == was_created, "make a migration: the tables of the code have changed"


def test_a_database_is_unversioned_until_it_is_upgraded(url: str) -> None:
    assert migrate.current(url) is None
    assert migrate.upgrade(url) == migrate.head()
    assert migrate.current(url) == migrate.head()


def test_an_upgrade_done_twice_is_done_once(url: str) -> None:
    migrate.upgrade(url)
    assert migrate.upgrade(url) == migrate.head()


def test_processes_that_start_together_wait_for_each_other(url: str) -> None:
    code = "import sys; from pipeline.store import migrate; migrate.upgrade(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], errors
    assert migrate.current(url) == migrate.head()


def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    migrate.upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(migrate.UnknownRevision, match="9999"):
        migrate.upgrade(url)
    assert migrate.current(url) == "9999"


def test_an_upgrade_that_fails_leaves_nothing(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE workers (id text)"))  # somebody's table of that name
    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(url)
    assert {row[0] for row in schema_of(engine)} == {"workers"}
    engine.dispose()
    assert migrate.current(url) is None


def test_an_unreachable_database_is_named_as_that() -> None:
    with pytest.raises(StoreUnavailable):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/none")


def test_what_a_start_asks_without_alembic_is_what_alembic_says(url: str) -> None:
    store = open_store(url, WallClock())
    try:
        assert revision.head() == migrate.head()
        assert revision.current(store) is migrate.current(url) is None
        migrate.upgrade(url)
        assert revision.current(store) == migrate.current(url) == revision.head()
    finally:
        store.close()
