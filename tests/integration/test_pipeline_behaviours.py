"""Every behaviour of the sandbox through real processes: on RabbitMQ and PostgreSQL with one process per stage, and on the
embedded default in one process. All orders run at once; each is judged by its state, its ledger, its callbacks and the journal.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.integration.pipeline_endings import ENDINGS, Ending, unpaid
from tests.integration.pipeline_house import STAGES, House, start_embedded, start_on
from tests.integration.pipeline_orders import AGENT, FARE_FEN, PRICE_FEN, TOP_UP_FEN, Am, Bought
from tests.integration.pipeline_process import request, until
from tests.services.broker import RabbitmqNode
from tests.unit.metric_queries import all_names, served

BOTH = ("rabbitmq", "embedded")
#: What only answers after the hold's deadline can prove: these get a short one.
NEED_THE_DEADLINE: Final = (
    "reset_before_read", "timeout_unpaid", "error_unpaid", "redirect_307", "paid_not_issued", "agent_pays_after_look",
)  # fmt: skip
DEADLINE_S = 12
TIMES: Final = {"VERIFY_WINDOW_S": "17", "ORDER_WAIT_S": "2", "LEASE_S": "10"}
DEARER: Final = [{"seat": "硬卧下", "price_fen": 42_900}] * 3  # 3.00 yuan above the fare
BARE, POOR = "bare", "poor"  # an agent without passwords, an agent without funds
PAID_PARTS: Final = {
    ("post", "in_flight", "railway"),
    ("unfreeze", "frozen", "available"),
    ("unfreeze", "frozen", "user"),
}


class Played(NamedTuple):
    am: Am
    bought: dict[str, Bought]  # by behaviour, and by what else was tried
    rows: dict[str, dict[str, object]]


def order_no(name: str) -> str:
    return f"{AGENT}-{name}"


def buy_all(am: Am) -> dict[str, Bought]:
    """Agents, holds, and all messages but those about an order that is still to be in doubt."""
    am.add_agent()
    am.add_agent(BARE)
    am.add_agent(POOR, fund_fen=0)
    bought = {}
    for name in sorted(ENDINGS, key=lambda name: name in NEED_THE_DEADLINE):  # these last: their time runs
        hold = {"deadline_s": DEADLINE_S} if name in NEED_THE_DEADLINE else {}
        bought[name] = am.buy(order_no(name), name, **hold)
    am.send_orders(bought.values())
    extras = {name: am.buy(order_no(name)) for name in ("credential_missing", "insufficient_funds", "request_expired")}
    extras["fare_exceeded"] = am.buy(order_no("fare_exceeded"), price_fen=FARE_FEN + 300, seats=DEARER)
    asked_at = datetime.now(UTC) - timedelta(minutes=25)
    am.send(
        [
            am.event(am.order(extras["credential_missing"].order_no, agent=BARE)),
            am.need_pay(extras["credential_missing"], agent=BARE, password=None),
            am.event(am.order(extras["insufficient_funds"].order_no, agent=POOR)),
            am.need_pay(extras["insufficient_funds"], agent=POOR),
            *am.messages(extras["request_expired"], asked_at=asked_at),
            *am.messages(extras["fare_exceeded"], price_fen=None),
        ]
    )
    return bought | extras


def ask_again_in_doubt(am: Am, bought: dict[str, Bought]) -> None:
    """While a payment is in doubt: the same request, one with another hold, and another order for the same hold."""
    doubted = bought["timeout_unpaid"]
    until("timeout_unpaid in doubt", lambda: am.state(doubted.order_no) == "in_doubt", DEADLINE_S)
    thief = Bought(order_no("conflict"), doubted.hold_no, doubted.account, doubted.password)
    bought["held_order_conflict"] = thief
    am.send([am.need_pay(doubted), am.need_pay(doubted, held_order_no="E999999999"), *am.messages(thief)])


@pytest.fixture(scope="module")
def played(
    broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Played]]:
    """Both pipelines with every order at its end."""
    vhost = broker.create_vhost()
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in BOTH}
    houses: dict[str, House] = {}
    try:
        houses["rabbitmq"] = start_on(folders["rabbitmq"], broker.url(vhost), module_database, 1, **TIMES)
        houses["embedded"] = start_embedded(folders["embedded"], **TIMES)
        ams = {kind: Am(house) for kind, house in houses.items()}
        bought = {kind: buy_all(am) for kind, am in ams.items()}
        for kind, am in ams.items():
            ask_again_in_doubt(am, bought[kind])
        played = {}
        for kind, am in ams.items():
            rows = am.wait_ended([one.order_no for one in bought[kind].values()], 75)
            played[kind] = Played(am, bought[kind], rows)
        yield played
    finally:
        for house in houses.values():
            house.close()
        broker.delete_vhost(vhost)


@pytest.mark.parametrize("behaviour", ENDINGS)
@pytest.mark.parametrize("kind", BOTH)
def test_every_behaviour_ends_as_the_table_says(played: dict[str, Played], kind: str, behaviour: str) -> None:
    am, bought, rows = played[kind]
    one, ending = bought[behaviour], ENDINGS[behaviour]
    am.check(one, ending, rows[one.order_no])
    shown = am.show(one.order_no)
    parts = {(line["kind"], line["from"], line["to"]): line["amount_fen"] for line in shown["postings"]}
    assert parts == expected_postings(behaviour, ending)
    submitted = [attempt for attempt in shown["attempts"] if attempt["submitted_at"]]
    assert len(submitted) == (1 if ("hold", "procurement", "in_flight") in parts else 0)
    amounts = (shown["paid_fen"], shown["unfrozen_fen"], shown["partial_refund_fen"])
    if ending.state == "settled":
        assert amounts == (PRICE_FEN, PRICE_FEN, FARE_FEN - PRICE_FEN)
    else:
        assert amounts[1:] == (0, 0)
    logins = Counter(line["outcome"] for line in am.lines_of(one, "login"))
    if behaviour == "wrong_password":
        assert logins == {"wrong_password": 1}
    if behaviour == "session_taken_over":
        assert logins["ok"] >= 2


def expected_postings(behaviour: str, ending: Ending) -> dict[tuple[str, str, str], int]:
    parts = {("freeze", "user", "frozen"): FARE_FEN}
    if ending.pays or behaviour == "reset_before_read":
        parts["hold", "procurement", "in_flight"] = PRICE_FEN
    if ending.state == "settled":
        parts |= dict.fromkeys(PAID_PARTS, PRICE_FEN)
        parts["unfreeze", "frozen", "user"] = FARE_FEN - PRICE_FEN
    elif ending.state == "held_unpaid" and len(parts) == 2:
        parts["void", "in_flight", "procurement"] = PRICE_FEN
    return parts


@pytest.mark.parametrize(
    "reason", ["credential_missing", "insufficient_funds", "request_expired", "fare_exceeded", "held_order_conflict"]
)
@pytest.mark.parametrize("kind", BOTH)
def test_what_ends_before_a_payment_submits_nothing(played: dict[str, Played], kind: str, reason: str) -> None:
    am, bought, rows = played[kind]
    one = bought[reason]
    assert (rows[one.order_no]["state"], rows[one.order_no]["reason"]) == ("held_unpaid", reason)
    assert [line["kind"] for line in am.show(one.order_no)["postings"]] == ["freeze"]
    assert am.told(one) == ["2"]
    if reason != "held_order_conflict":
        am.check(one, unpaid(reason), rows[one.order_no])


@pytest.mark.parametrize("kind", BOTH)
def test_a_request_during_doubt_starts_nothing_and_one_for_another_hold_is_refused(
    played: dict[str, Played], kind: str
) -> None:
    am, bought, rows = played[kind]
    one = bought["timeout_unpaid"]
    story = am.show(one.order_no)["story"]
    said = [(line["what"], line["detail"].get("err_code")) for line in story if line["what"].startswith("need_pay")]
    assert ("need_pay_repeated", None) in said
    assert ("need_pay_refused", "204") in said
    assert rows[one.order_no]["generation"] == 1


@pytest.mark.parametrize("kind", BOTH)
def test_an_unpaid_end_that_needs_the_deadline_is_never_told_before_it(played: dict[str, Played], kind: str) -> None:
    am, bought, rows = played[kind]
    for behaviour in NEED_THE_DEADLINE:
        one = bought[behaviour]
        final_after = datetime.fromisoformat(str(rows[one.order_no]["deadline"])) + timedelta(seconds=1)
        story = {line["what"]: line["at"] for line in am.show(one.order_no)["story"]}
        ended = story["held_unpaid" if ENDINGS[behaviour].state == "held_unpaid" else "paid_abnormal"]
        assert datetime.fromisoformat(ended) >= final_after, behaviour


@pytest.mark.parametrize("kind", BOTH)
def test_the_books_add_up(played: dict[str, Played], kind: str) -> None:
    am, _bought, rows = played[kind]
    mine = [row for row in rows.values() if row["agent"] == AGENT]
    settled = sum(row["state"] == "settled" for row in mine)
    abnormal = sum(row["state"] == "paid_abnormal" for row in mine)
    assert am.house.json("funds", "show", AGENT) == {
        "frozen_fen": FARE_FEN * (len(mine) - settled),
        "procurement_fen": TOP_UP_FEN - PRICE_FEN * (settled + abnormal),
        "in_flight_fen": PRICE_FEN * abnormal,
        "available_fen": PRICE_FEN * settled,
        "refund_fen": 0,
    }
    am.audit_is_clean()


def test_all_queues_are_empty_in_the_end(played: dict[str, Played], broker: RabbitmqNode) -> None:
    house = played["rabbitmq"].am.house
    names = [f"daifu.{stage}{suffix}" for stage in STAGES for suffix in ("", ".dlq")]

    def lying() -> dict[str, int]:
        queues = broker.management.queues(house.vhost)
        return {name: queues[name].get("messages", -1) for name in names if queues[name].get("messages", -1) != 0}

    until("all queues are empty", lambda: not lying(), 20)


@pytest.mark.parametrize("kind", BOTH)
def test_every_bad_end_left_one_dead_letter_with_its_reason(played: dict[str, Played], kind: str) -> None:
    am, _bought, rows = played[kind]
    letters = {letter["order_no"]: letter["reason"] for letter in am.house.json("dead-letters", "list")}
    assert letters == {number: row["reason"] for number, row in rows.items() if row["reason"] is not None}


@pytest.mark.parametrize("kind", BOTH)
def test_nothing_unforeseen_was_logged(played: dict[str, Played], kind: str) -> None:
    house = played[kind].am.house
    bad = (
        "Traceback",
        "item_failed",
        "call_failed",
        "claim_failed",
        "message_failed",
        "part_broke",
        "wakeup_unreadable",
    )
    found = [line for line in house.logs().splitlines() if any(word in line for word in bad)]
    assert not found, "\n".join(found[:5])


def test_metrics_and_health_answer_on_every_process(played: dict[str, Played]) -> None:
    for name, process in played["rabbitmq"].am.house.processes.items():
        if name == "sandbox":
            continue
        assert process.health("/livez")[0] == 200, name
        assert process.health("/readyz")[0] == 200, name
        assert "daifu_in_flight_fen" in process.health("/metrics")[1], name
    relay = played["rabbitmq"].am.house.processes["relay"]
    abnormal = sum(ending.state == "paid_abnormal" for ending in ENDINGS.values())
    line = f"daifu_in_flight_fen {float(PRICE_FEN * abnormal)}\n"
    until("the relay has read it", lambda: line in relay.health("/metrics")[1], 30)


def test_every_metric_that_a_rule_or_a_panel_names_is_really_served(played: dict[str, Played]) -> None:
    door = f"http://{played['embedded'].am.house.settings.http_listen}/api/pub/QueryOrders.do"
    assert request(door)[0] == 200  # counted, whatever it says

    def missing() -> dict[str, str]:
        houses = [one.am.house for one in played.values()]
        running = [process for house in houses for name, process in house.processes.items() if name != "sandbox"]
        there = set().union(*(served(process.health("/metrics")[1]) for process in running))
        return {name: place for name, place in all_names().items() if name not in there}

    with contextlib.suppress(AssertionError):  # the message below says more
        until("all are served", lambda: not missing(), 60)
    assert not missing()


def test_the_folder_of_the_embedded_default_is_closed_to_others(played: dict[str, Played]) -> None:
    home = Path(str(played["embedded"].am.house.settings.home))
    for path in (home, home / "vault.json", home / "service-keys.json", home / "am-token"):
        assert path.stat().st_mode & 0o077 == 0, path
