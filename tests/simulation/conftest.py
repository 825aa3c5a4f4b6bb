"""Closes what the simulations share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.shared_store import close_shared_store


@pytest.fixture(scope="session", autouse=True)
def _shared_store() -> Iterator[None]:
    yield
    close_shared_store()
