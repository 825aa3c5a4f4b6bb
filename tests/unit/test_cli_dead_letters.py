"""What the desk's pages can, by command: filters, groups, export, jobs, mending what nobody could read, the second person."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clock import WallClock
from pipeline.executors import InlineExecutor
from pipeline.operations_import import rules_of
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from pipeline.settings import Settings
from pipeline.store import dead_letters
from pipeline.vault import KeyRing
from tests.unit import message_samples
from tests.unit.cli_home import Home
from tests.unit.console_data import PRICE_FEN, Orders


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", "xcslw", "--callback", "https://agent.example/told", stdin="an invented key\n")
    return home


@pytest.fixture
def orders(home: Home) -> Iterator[Orders]:
    with home.store() as store:
        made = Orders(store, "xcslw", KeyRing.generate().public)
        made.set_up()
        yield made


def test_lists_groups_and_exports_take_the_same_filter(home: Home, orders: Orders) -> None:
    first, _second = orders.held_unpaid(Reason.NOT_SENT), orders.held_unpaid(Reason.NOT_SENT)
    orders.held_unpaid(Reason.HOLD_EXPIRED)
    (row,) = home.json("dead-letters", "list", "--text", first, "--agent", "xcslw")
    assert row["order_no"] == first
    assert home.json("dead-letters", "list", "--failed-again") == []
    assert home.json("dead-letters", "list", "--last-until", "2001-01-01T00:00:00") == []
    assert len(home.json("dead-letters", "list", "--limit", "2")) == 2
    groups = home.json("dead-letters", "groups", "--reason", "not_sent")
    assert [(one["reason"], one["stage"], one["letters"]) for one in groups] == [("not_sent", "payment", 2)]
    assert home.json("dead-letters", "groups", "--state", "replayed") == []
    rows = list(csv.DictReader(io.StringIO(home.call("dead-letters", "export", "--reason", "not_sent").stdout)))
    assert [row["reason"] for row in rows] == ["not_sent", "not_sent"]
    home.json("dead-letters", "note", str(row["id"]), "=HYPERLINK(1)")
    rows = list(csv.DictReader(io.StringIO(home.call("dead-letters", "export", "--text", first).stdout)))
    assert [row["note"] for row in rows] == ["'=HYPERLINK(1)"]
    assert home.call("dead-letters", "export", "--agent", "nobody").stdout.startswith("id,state,stage,")
    lines = home.call("dead-letters", "export", "--format", "json").stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == 3


def test_a_job_is_made_started_run_and_stopped(home: Home, orders: Orders) -> None:
    for reason in (Reason.NOT_SENT, Reason.NOT_SENT, Reason.HOLD_EXPIRED):
        orders.held_unpaid(reason)
    assert home.call("dead-letters", "jobs", "check").exit_code == 2
    made = home.json("dead-letters", "jobs", "check", "--all")
    assert (made["state"], made["eligible"], made["ineligible"]) == ("checked", 2, 1)
    number = str(made["id"])
    assert home.json("dead-letters", "jobs", "start", number, "--rate", "0.1") == {"id": made["id"], "waiting": 2}
    assert home.call("dead-letters", "jobs", "start", number).exit_code == 4
    rules = rules_of(Settings(), KeyRing.generate())
    ReplayRunner(orders.store, InlineExecutor(), rules, WallClock()).round()
    assert home.json("dead-letters", "jobs", "stop", number)["state"] == "stopped"
    shown = home.json("dead-letters", "jobs", "show", number)
    assert (shown["replayed"], shown["left_alone"]) == (1, 1)
    assert sorted((item["result"] or item["plan"]) for item in shown["items"]) == ["refused", "replay", "replay"]
    left = home.json("dead-letters", "jobs", "show", number, "--result", "left")
    assert len(left["items"]) == 1
    assert [one["id"] for one in home.json("dead-letters", "jobs", "list")] == [made["id"]]
    assert home.call("dead-letters", "jobs", "show", "99").exit_code == 1


def test_an_unreadable_message_is_shown_masked_mended_and_replayed(home: Home, orders: Orders, tmp_path: Path) -> None:
    body = message_samples.body("order.paid", message_samples.ORDER | {"trip": "simple"})
    now = orders.store.clock.now()
    row = {"uid": "raw", "stage": "intake", "reason": "poison", "detail": "x", "attempts": 1, "state": "open"}
    keys = KeyRing.load(home.path / "service-keys.json")
    sealed = {"body_sealed": keys.public.seal(body), "first_at": now, "last_at": now}
    orders.write(lambda tx: dead_letters.add_raw(tx, [row | sealed]))
    text = home.json("dead-letters", "raw", "1")["text"]
    assert "000000190001010000" not in text
    mended = tmp_path / "mended.json"
    mended.write_text(text.replace('"simple"', '"single"'), encoding="utf-8")
    changes = {"data.trip": {"before": "simple", "after": "single"}}
    assert home.json("dead-letters", "raw", "1", "--with", str(mended)) == {"id": 1, "changes": changes}
    assert home.json("dead-letters", "show", "1")["state"] == "open"
    done = home.json("dead-letters", "raw", "1", "--with", str(mended), "--replay")
    assert (done["result"], home.json("dead-letters", "show", "1")["state"]) == ("replay", "replayed")
    assert home.call("dead-letters", "raw", "1", "--with", "-", "--replay", stdin=text).exit_code == 4


def test_a_second_person_confirms_or_denies(home: Home, orders: Orders) -> None:
    order_no = orders.abnormal()
    limit = {"DAIFU_FOUR_EYES_FEN": "1000"}
    resolve = ("orders", "resolve", order_no, "--as", "ticketed", "--debited-fen", str(PRICE_FEN), "--evidence", "票号")
    assert home.call(*resolve, **limit).exit_code == 0
    (waiting,) = home.json("orders", "abnormal")
    assert waiting["proposal"]["by"] == "human:ann"
    assert home.json("orders", "deny", order_no, "--reason", "凭据不足", "--by", "bob")["proposal"] is None
    assert home.call(*resolve, **limit).exit_code == 0
    confirm = ("orders", "confirm", *resolve[2:])
    assert home.call(*confirm, **limit).exit_code == 4  # the same person
    assert home.call(*confirm, "--by", "bob", **limit).exit_code == 0
    assert home.json("orders", "show", order_no)["state"] == "purchased"
    assert home.json("orders", "abnormal") == []
