"""`daifu doctor` about RabbitMQ: its version, queues, exchanges, policies, and who consumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.broker import compare, declare
from pipeline.broker.declare import Difference
from pipeline.broker.depths import Depth
from pipeline.cli import doctor_inside
from tests.unit.cli_home import Home
from tests.unit.doctor_said import PRODUCTION, settings, told


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class Rabbit:
    """A broker as the doctor sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.version = "3.13.7"
        self.differences: list[Difference] = []
        self.depths: list[Depth] = []
        monkeypatch.setattr(
            doctor_inside, "connect", lambda *_a, **_k: SimpleNamespace(server_properties={"version": self.version})
        )
        monkeypatch.setattr(doctor_inside, "close", lambda _connection: None)
        monkeypatch.setattr(declare, "check", lambda _url: self.differences)
        monkeypatch.setattr(doctor_inside, "QueueDepths", lambda *_a, **_k: self)

    def read(self) -> Sequence[Depth]:
        return self.depths

    def close(self) -> None:
        """Nothing is open."""


def test_a_broker_that_is_not_as_it_should_be(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rabbit, given = Rabbit(monkeypatch), settings(home, **PRODUCTION)
    assert told(doctor_inside.broker, given) == []
    rabbit.version = "3.8.9"
    rabbit.differences = [
        Difference("queue daifu.payment", "declared", "missing"),
        Difference("queue daifu.am x-max-length", "100000", "5"),
    ]
    rabbit.depths = [Depth("daifu.payment", 3, 0), Depth("daifu.am", 9, 0), Depth("daifu.intake", 5, 1)]
    found = told(doctor_inside.broker, given)
    assert [level for level, _detail, _mend in found] == ["warning", "wrong", "wrong", "wrong"]
    assert "3.8.9" in found[0][1]
    assert [found[1][2], "delete it" in found[2][2]] == ["run `daifu topology apply`", True]
    assert found[3][1] == "daifu.payment: 3 messages and no consumer"


def test_a_broker_that_is_away_is_a_dependency(home: Home) -> None:
    ((level, _detail, mend),) = told(doctor_inside.broker, settings(home, **PRODUCTION))
    assert (level, "DAIFU_BROKER_URL" in mend) == ("unreachable", True)


def test_policies_and_bindings_are_compared_where_the_management_api_may_be_asked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences: list[Difference] = []
    monkeypatch.setattr(compare, "differences", lambda _management: differences)
    assert told(doctor_inside.policies, settings(home, **PRODUCTION)) == []
    asked = settings(home, **PRODUCTION, BROKER_MANAGEMENT_URL="http://nobody@127.0.0.1:1")
    assert told(doctor_inside.policies, asked) == []
    differences += [
        Difference("policy of daifu.am.dlq message-ttl", "not set", "60000"),
        Difference("binding daifu order.* daifu.intake", "bound", "missing"),
        Difference("queue daifu.old", "none of this name", "declared"),
    ]
    found = told(doctor_inside.policies, asked)
    assert {level for level, _detail, _mend in found} == {"wrong"}
    assert found[0][1] == "policy of daifu.am.dlq message-ttl: 60000, should be not set"
    assert ["list_policies" in found[0][2], found[1][2], "once it is empty" in found[2][2]] == [
        True,
        "run `daifu topology apply`",
        True,
    ]


def test_a_management_api_that_is_away_is_a_dependency(home: Home) -> None:
    asked = settings(home, **PRODUCTION, BROKER_MANAGEMENT_URL="http://nobody@127.0.0.1:1")
    ((level, _detail, _mend),) = told(doctor_inside.policies, asked)
    assert level == "unreachable"
