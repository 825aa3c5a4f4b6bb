"""The OpenAPI document, and the API exercised by it: whatever is sent, no answer is a defect of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline.console.app import routes
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, House, console_at
from tests.unit.console_served import on_a_thread

EXAMPLES = 12  # of each operation


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("openapi")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        orders = Orders(house.store, AGENT, house.desk.vault_key)
        orders.set_up()
        orders.one_of_each()
        yield house


@pytest.fixture(scope="module")
def url(house: House) -> Iterator[str]:
    with on_a_thread(house.app) as address:
        yield address


def test_every_api_route_is_described_with_what_it_answers(url: str) -> None:
    described = requests.get(f"{url}/openapi.json", timeout=10).json()
    paths = {route.path for route in routes() if route.path.startswith("/api/")}
    assert set(described["paths"]) == paths
    for operations in described["paths"].values():
        for operation in operations.values():
            assert {"200", "401", "403", "422"} <= set(operation["responses"]), operation


@pytest.mark.parametrize("name", ["alice", "carol"])
def test_whatever_is_sent_no_answer_is_a_defect_or_other_than_described(house: House, url: str, name: str) -> None:
    browser = house.signed_in(name, address="127.0.0.1")
    schema = schemathesis.openapi.from_dict(requests.get(f"{url}/openapi.json", timeout=10).json())
    session = requests.Session()
    session.cookies.update(browser.cookies)
    session.headers["X-CSRF-Token"] = browser.csrf
    with session:
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # of an Err it raises, and says what is wrong

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def exercise(case: Any) -> None:
                case.call_and_validate(base_url=url, session=session, checks=CHECKS)

            exercise()
