"""`daifu funds` and `daifu reconcile`: what they print, and when they exit other than 0."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.bill_world import Moved, account_bill
from tests.unit.cli_home import Home

AGENT = "xcslw"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", AGENT, "--callback", "https://agent.example/told", stdin="an invented key\n")
    home.json("funds", "top-up", AGENT, "--fen", "124100", "--reason", "first deposit")
    return home


def test_funds_are_listed_stated_and_in_balance(home: Home) -> None:
    (one,) = home.json("funds", "list")
    assert (one["agent"], one["procurement_fen"], one["level"]) == (AGENT, 124_100, "low")
    seen = home.json("funds", "statement", AGENT)
    assert (seen["opening_fen"], seen["closing_fen"], seen["rows"][0]["note"]) == (0, 124_100, "first deposit")
    assert "closing 1241.00" in home.call("funds", "statement", AGENT, "--account", "procurement").output
    before = home.json("funds", "statement", AGENT, "--until", "2014-11-17T00:00:00")
    assert (before["closing_fen"], before["rows"]) == (0, [])
    trial = home.json("funds", "trial-balance")
    assert (trial["total"]["bank_fen"], trial["total"]["procurement_fen"], trial["sum_fen"]) == (-124_100, 124_100, 0)
    assert "-1241.00" in home.call("funds", "trial-balance", "--agent", AGENT).output
    assert home.call("funds", "statement", "nobody").exit_code == 1


def test_a_bill_is_compared_and_what_does_not_agree_exits_with_1(home: Home, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    file = tmp_path / "bill.csv"
    file.write_bytes(account_bill([], now - timedelta(days=1), now).encode("gbk"))
    assert home.json("reconcile", str(file)) == []
    file.write_bytes(account_bill([Moved("T9", 12_800, now, "1")], now - timedelta(days=1), now).encode("gbk"))
    for _ in range(2):
        (one,) = home.json("reconcile", str(file), code=1)
        assert (one["kind"], one["there_fen"], one["line"]["trade_no"]) == ("only_there", 12_800, "T9")
    (task,) = home.json("tasks", "list")
    assert (task["kind"], task["order_no"], task["amount_fen"]) == ("reconciliation_break", None, 12_800)
    assert "T9" in home.call("reconcile", "--again").output
    home.json("tasks", "close", str(task["id"]), "--resolution", "hotel", "--evidence", "line 6")
    assert home.json("reconcile") == []
    assert home.call("reconcile", str(file), "--again").exit_code == 2


def test_a_file_that_is_no_bill_is_refused_by_its_line(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_text("账务流水号\n", encoding="utf-8")
    result = home.call("reconcile", str(file))
    assert result.exit_code == 4
    assert "没有找到列名所在的行" in result.output
