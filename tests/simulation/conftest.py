"""What all simulations share is closed at the end; nobody reads the log lines of ten thousand deaths, and they take time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from pipeline.cli.simulation.shared_store import close_shared_store


@pytest.fixture(scope="session", autouse=True)
def _shared_store() -> Iterator[None]:
    yield
    close_shared_store()


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
