"""Stores that contract tests share: one of each kind of database, and PostgreSQL's alone. A file that needs rows in them first
takes `store` and fills it. On PostgreSQL it is one database for all tests of a run, emptied before each: to make one with its
tables and to drop it takes longer than most tests. A test that changes the tables themselves takes `fresh_database`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from pipeline.store.engine import Store
from tests.contract.store_subjects import POSTGRESQL, SQLITE, create_tables, emptied, opened
from tests.services.postgres import PostgresServer


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == POSTGRESQL:
        yield request.getfixturevalue("_emptied_postgresql")
        return
    with opened(f"sqlite:///{tmp_path / 'store.sqlite3'}") as store:
        yield store


@pytest.fixture
def postgresql(_emptied_postgresql: Store) -> Store:
    return _emptied_postgresql


@pytest.fixture
def _emptied_postgresql(tables_on_postgresql: str) -> Iterator[Store]:
    """Under a name that no file gives to a store with rows in it."""
    with emptied(tables_on_postgresql) as store:
        yield store


@pytest.fixture(scope="session")
def tables_on_postgresql(postgres: PostgresServer) -> Iterator[str]:
    """URL of a database with all tables."""
    name = postgres.create_database()
    engine = create_engine(postgres.url(name))
    create_tables(engine)
    engine.dispose()
    yield postgres.url(name)
    postgres.drop_database(name)
