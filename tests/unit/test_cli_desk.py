"""The commands of operators: fields and exit codes of INTERFACES, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import endings
from pipeline.acceptance import Limits, accept
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.engine import Transaction
from schemas.am_messages import parse
from tests.unit.cli_home import Home
from tests.unit.message_samples import NEED_PAY, ORDER, ORDER_NO, body

ORDER_FIELDS = {
    "order_no",
    "agent",
    "order_state",
    "state",
    "outcome",
    "reason",
    "generation",
    "account",
    "held_order_no",
    "fare_fen",
    "price_fen",
    "paid_fen",
    "unfrozen_fen",
    "partial_refund_fen",
    "refund_fen",
    "pay_status",
    "agent_told",
    "deadline",
    "stop_at",
    "updated_at",
}
LETTER_FIELDS = {
    "id",
    "stage",
    "order_no",
    "generation",
    "agent",
    "reason",
    "detail",
    "attempts",
    "first_at",
    "last_at",
    "amount_fen",
    "deadline",
    "state",
    "replays",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", "xcslw", "--callback", "https://agent.example/told", stdin="an invented key\n")
    return home


def _accept(home: Home, **changes: object) -> None:
    def work(tx: Transaction) -> None:
        for kind, data in (("order.paid", ORDER), ("purchase.need_pay", NEED_PAY | changes)):
            accept(tx, parse(body(kind, data, id=kind)), Limits(1e9, 300), origin="queue")

    with home.store() as store:
        store.write(work)


def _end(home: Home, reason: Reason) -> None:
    def work(tx: Transaction) -> None:
        purchase = orders.load_purchases(tx, [f"{ORDER_NO}:1"])[f"{ORDER_NO}:1"]
        endings.end_before_intent(tx, purchase, reason, "", stage="payment", actor="system:payment")

    with home.store() as store:
        store.write(work)


def _abnormal(home: Home) -> None:
    def work(tx: Transaction) -> None:
        key = f"{ORDER_NO}:1"
        orders.move(tx, key, PurchaseState.ACCEPTED, PurchaseState.READY)
        orders.move(tx, key, PurchaseState.READY, PurchaseState.PAYING)
        attempt = attempts.open_attempt(tx, key, ORDER_NO, 1, "agent_user01", 1)
        attempts.close_one(tx, attempt, "paid_elsewhere")
        purchase = orders.load_purchases(tx, [key])[key]
        endings.conclude_abnormal(tx, purchase, None, Reason.PAID_ELSEWHERE, "", actor="system:payment")

    with home.store() as store:
        store.write(work)


def test_a_key_from_stdin_is_printed_once_with_what_was_generated(home: Home) -> None:
    shown = home.json("agents", "add", "other", "--callback", "https://b.example", stdin="another invented key\n")
    assert set(shown) == {"code", "key", "webhook_secret"}
    assert shown["key"] == "another invented key"
    assert "invented" not in home.call("agents", "list").output


def test_a_key_is_generated_where_none_is_given(home: Home) -> None:
    shown = home.json("agents", "add", "other", "--callback", "https://b.example")
    assert len(shown["key"]) >= 24
    assert shown["webhook_secret"].startswith("whsec_")


def test_an_agent_that_is_there_is_exit_4(home: Home) -> None:
    result = home.call("agents", "add", "xcslw", "--callback", "https://b.example", "--json")
    assert (result.exit_code, result.stdout) == (4, "")


def test_passwords_come_from_stdin_and_are_never_shown(home: Home) -> None:
    result = home.call("agents", "set-password", "xcslw", stdin="not a real password\n")
    assert result.exit_code == 0
    assert "not a real" not in result.output
    assert home.call("agents", "set-password", "xcslw", "--account", "un", stdin="x\n").exit_code == 0
    assert home.call("agents", "set-password", "xcslw").exit_code == 2
    (agent,) = home.json("agents", "list")
    assert (agent["unified_password"], agent["accounts"]) == (True, ["un"])


def test_the_callback_address_can_be_changed(home: Home) -> None:
    home.json("agents", "set-callback", "xcslw", "https://new.example")
    assert home.json("agents", "list")[0]["callback"] == "https://new.example"
    assert home.call("agents", "set-callback", "nobody", "https://new.example").exit_code == 1


def test_funds_grow_by_a_top_up(home: Home) -> None:
    home.json("funds", "top-up", "xcslw", "--fen", "124100", "--reason", "首次充值")
    assert home.json("funds", "show", "xcslw") == {
        "frozen_fen": 0, "procurement_fen": 124100, "in_flight_fen": 0, "available_fen": 0, "refund_fen": 0,
    }  # fmt: skip
    assert "1241.00" in home.call("funds", "show", "xcslw").stdout
    assert home.call("funds", "show", "nobody").exit_code == 1
    assert home.call("funds", "top-up", "xcslw", "--fen", "0", "--reason", "x").exit_code == 2


def test_orders_are_listed_and_shown_with_all_their_fields(home: Home) -> None:
    _accept(home)
    (row,) = home.json("orders", "list")
    assert set(row) >= ORDER_FIELDS
    assert (row["order_state"], row["state"], row["fare_fen"], row["price_fen"]) == (
        "purchasing",
        "accepted",
        128400,
        124100,
    )
    order = home.json("orders", "show", ORDER_NO)
    assert set(order) >= ORDER_FIELDS | {"attempts", "postings", "callbacks", "story"}
    assert [(line["kind"], line["from"], line["to"], line["amount_fen"]) for line in order["postings"]] == [
        ("freeze", "user", "frozen", 128400)
    ]
    assert order["story"][0]["at"].endswith("+08:00")
    assert home.call("orders", "show", "unknown").exit_code == 1


@pytest.mark.parametrize(
    ("option", "fits"),
    [
        (("--agent", "xcslw"), True),
        (("--agent", "other"), False),
        (("--state", "purchase_failed"), True),
        (("--state", "held_unpaid"), True),
        (("--state", "paid"), False),
        (("--outcome", "held_unpaid"), True),
        (("--outcome", "purchased"), False),
        (("--reason", "price_mismatch"), True),
        (("--reason", "not_sent"), False),
        (("--limit", "1"), True),
    ],
)
def test_orders_are_filtered(home: Home, option: tuple[str, str], fits: bool) -> None:  # noqa: FBT001 - a parameter
    _accept(home)
    _end(home, Reason.PRICE_MISMATCH)
    assert len(home.json("orders", "list", *option)) == int(fits)


def test_dead_letters_are_listed_shown_and_replayed(home: Home) -> None:
    _accept(home)
    _end(home, Reason.PRICE_MISMATCH)
    (letter,) = home.json("dead-letters", "list", "--stage", "payment", "--reason", "price_mismatch", "--state", "open")
    assert set(letter) >= LETTER_FIELDS
    number = str(letter["id"])
    assert home.json("dead-letters", "show", number)["would"] == "refuse"
    (refused,) = home.json("dead-letters", "replay", number, code=4)
    assert (refused["id"], refused["result"]) == (letter["id"], "refused")
    home.call("agents", "set-password", "xcslw", stdin="x\n")
    (planned,) = home.json("dead-letters", "replay", "--all", "--dry-run")
    assert planned["result"] == "replay"
    assert (planned["order_no"], planned["reason"]) == (ORDER_NO, "price_mismatch")
    assert "第 2 次代付" in planned["does"]
    assert home.json("orders", "show", ORDER_NO)["generation"] == 1
    (done,) = home.json("dead-letters", "replay", "--reason", "price_mismatch", "--rate", "100")
    assert set(done) == {"id", "result", "why"}
    assert home.json("orders", "show", ORDER_NO)["generation"] == 2
    assert home.json("dead-letters", "list", "--state", "replayed")[0]["replays"] == 1
    assert home.json("dead-letters", "groups", "--state", "replayed")[0]["failed_again"] == 0


def test_a_replay_names_what_it_replays(home: Home) -> None:
    assert home.call("dead-letters", "replay").exit_code == 2
    assert home.call("dead-letters", "replay", "1", "--all").exit_code == 2
    assert home.call("dead-letters", "replay", "1").exit_code == 1
    assert home.json("dead-letters", "replay", "--all") == []


def test_dead_letters_are_discarded_and_restored(home: Home) -> None:
    _accept(home)
    _end(home, Reason.PRICE_MISMATCH)
    assert home.json("dead-letters", "discard", "1", "--reason", "不要了") == {"id": 1, "state": "discarded"}
    assert home.call("dead-letters", "discard", "1", "--reason", "不要了").exit_code == 4
    assert home.json("dead-letters", "restore", "1") == {"id": 1, "state": "open"}
    home.json("dead-letters", "note", "1", "已联系")
    assert home.json("dead-letters", "show", "1")["note"] == "已联系"


def test_an_abnormal_is_never_replayed_and_closed_by_a_person(home: Home) -> None:
    _accept(home)
    _abnormal(home)
    home.json("dead-letters", "replay", "--all", code=4)
    (task,) = home.json("tasks", "list")
    assert home.call("tasks", "close", str(task["id"]), "--resolution", "x", "--evidence", "y").exit_code == 4
    assert home.json("tasks", "take", str(task["id"])) == {"id": task["id"], "taken_by": "human:ann"}
    wrong = home.call("orders", "resolve", ORDER_NO, "--as", "ticketed", "--debited-fen", "1", "--evidence", "x")
    assert wrong.exit_code == 4
    closed = home.json("orders", "resolve", ORDER_NO, "--as", "never_debited", "--evidence", "账单没有", "--by", "bob")
    assert (closed["done"], home.json("orders", "show", ORDER_NO)["state"]) == (True, "never_debited")
    assert home.json("tasks", "list") == []
    assert home.json("tasks", "list", "--all")[0]["closed_by"] == "human:bob"


def test_an_audit_is_ok_or_exit_1(home: Home) -> None:
    _accept(home)
    assert home.json("audit")["ok"]

    def spoil(tx: Transaction) -> None:
        orders.update_order(tx, ORDER_NO, frozen_fen=0)

    with home.store() as store:
        store.write(spoil)
    report = home.json("audit", code=1)
    assert [(one["invariant"], one["orders"]) for one in report["broken"]] == [
        ("frozen_rest_of_each_order", [ORDER_NO])
    ]


def test_an_audit_takes_a_journal(home: Home, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"seq": 1, "kind": "pay", "held_order_no": "E1", "amount_fen": 5}\n')
    report = home.json("audit", "--journal", str(journal), code=1)
    assert [one["invariant"] for one in report["broken"]] == ["journal_every_pay_has_its_intent"]


def test_results_and_callbacks_are_sent_again(home: Home) -> None:
    _accept(home)
    assert home.json("events", "resend", "--order", ORDER_NO) == {"results": 1}
    assert home.json("events", "resend", "--since", "2014-11-17T00:00:00+08:00") == {"results": 1}
    assert home.call("events", "resend").exit_code == 2
    assert home.call("events", "resend", "--since", "yesterday").exit_code == 2
    assert home.call("callbacks", "resend", ORDER_NO).exit_code == 4
    _end(home, Reason.PRICE_MISMATCH)
    assert home.json("callbacks", "resend", ORDER_NO) == {"order_no": ORDER_NO, "pay_status": "2"}
    (again,) = home.json("callbacks", "resend", "--agent", "xcslw")
    assert (again["order_no"], again["result"], again["pay_status"]) == (ORDER_NO, "resent", "2")
    assert home.call("callbacks", "resend").exit_code == 2


def test_a_callback_that_is_not_taken_is_exit_1(home: Home) -> None:
    home.json("agents", "set-callback", "xcslw", "http://127.0.0.1:1/told")
    answer = home.json("callbacks", "test", "xcslw", code=1)
    assert (answer["delivered"], answer["status"]) == (False, None)
    assert "was not reached" in answer["meaning"]


def test_pausing_and_resuming(home: Home) -> None:
    assert home.json("pause", "stage", "payment", "--reason", "12306维护")["paused"]
    assert home.call("pause", "stage", "payment", "--reason", "x").exit_code == 4
    assert home.call("pause", "agent", "nobody", "--reason", "x").exit_code == 1
    assert not home.json("resume", "stage", "payment", "--reason", "恢复")["paused"]
    assert home.call("resume", "stage", "payment", "--reason", "x").exit_code == 4


def test_accounts_are_listed_and_unblocked(home: Home) -> None:
    assert home.json("accounts", "list") == []
    assert home.call("accounts", "unblock", "nobody").exit_code == 1


def test_recovering_pauses_paying_until_every_hold_was_asked_about(home: Home) -> None:
    _accept(home)
    state = home.json("recover", "--since", "2014-11-17T00:00:00+08:00")
    assert [hold["order_no"] for hold in state["holds"]] == [ORDER_NO]
    assert home.call("recover", "--finish").exit_code == 4
    home.json("tasks", "close", str(state["holds"][0]["task"]), "--resolution", "unpaid", "--evidence", "12306截图")
    assert home.json("recover", "--finish")["paying_paused_since"] is None
    assert home.json("recover")["holds"] == []
