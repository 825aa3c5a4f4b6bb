"""Stores that contract tests share: one of each kind of database, and PostgreSQL's alone. A file that needs rows in them first
takes `store` and fills it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store.engine import Store
from tests.contract.store_subjects import POSTGRESQL, SQLITE, opened, url_of


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened(url_of(request.param, request, tmp_path)) as store:
        yield store


@pytest.fixture
def postgresql(fresh_database: str) -> Iterator[Store]:
    with opened(fresh_database) as store:
        yield store
