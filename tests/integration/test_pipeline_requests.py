"""Duplicates, reordering and every row of the table of requests (DESIGN section 5), with two workers per stage on RabbitMQ and
on the embedded default.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from schemas.am_messages import Confirmed, NoTicket, RefundRequested
from tests.integration.pipeline_endings import ENDINGS, paid
from tests.integration.pipeline_house import House, start_embedded, start_on
from tests.integration.pipeline_orders import AGENT, Am, Bought, ticket
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode

BOTH = ("rabbitmq", "embedded")
WORKERS = 2
TIMES: Final = {"ORDER_WAIT_S": "3"}
SHUFFLED = tuple(f"{AGENT}-shuffled-{number}" for number in range(6))
# How each order stands when its NEED_PAY comes: what happened before, and what the request is answered.
ANSWERS: Final = {
    "settled": "008",
    "abnormal": "205",
    "no_ticket": "203",
    "offline": "203",
    "joint": "201",
    "refund": "207",
    "two_holds": "101",
}


class Setting:
    """A pipeline in which every order of this file stands as its name says."""

    def __init__(self, house: House) -> None:
        self.am = Am(house)
        self.am.add_agent()
        self.bought: dict[str, Bought] = {}

    def buy(self, name: str, behaviour: str = "ok", **hold: Any) -> Bought:
        self.bought[name] = self.am.buy(f"{AGENT}-{name}", behaviour, **hold)
        return self.bought[name]

    def first_messages(self) -> None:
        """Everything that the requests of the tests find there, and a shuffle of repeated messages."""
        am = self.am
        am.send_orders([self.buy("settled"), self.buy("unpaid", "refuse"), self.buy("abnormal", "takes_other_amount")])
        am.send_orders([self.buy("live", delay_ms=1500)])
        for name in ("no_ticket", "offline", "refund", "two_holds"):
            am.send([am.event(am.order(self.buy(name).order_no))])
        am.send([am.event(am.order(self.buy("joint").order_no, trip="joint"))])
        shuffled = [event for number in SHUFFLED for event in am.messages(self.bought_as(number))]
        repeated = shuffled * 3
        random.Random(7).shuffle(repeated)
        am.send(repeated)
        # one that waits for its order, one that carries it
        waiting = self.buy("waiting")
        am.send([am.need_pay(waiting)])
        within = self.buy("within")
        order = am.order(within.order_no)
        am.send([am.need_pay(within, order=order), am.event(order)])
        am.send([am.event(am.order(waiting.order_no))])
        am.send([am.need_pay(self.buy("unknown"))])

    def bought_as(self, order_no: str) -> Bought:
        self.bought[order_no] = self.am.buy(order_no)
        return self.bought[order_no]

    def close_some(self) -> None:
        am = self.am
        numbers = {name: self.bought[name].order_no for name in ("no_ticket", "offline", "refund")}
        tickets = (ticket("E111111111"),)
        am.send(
            [
                am.event(NoTicket(order_no=numbers["no_ticket"], agent=AGENT, reason="1", comment="")),
                am.event(Confirmed(order_no=numbers["offline"], agent=AGENT, account=None, tickets=tickets)),
                am.event(RefundRequested(order_no=numbers["refund"], agent=AGENT, requested_at=datetime.now(UTC))),
            ]
        )

    def order_no(self, name: str) -> str:
        return self.bought[name].order_no

    def story(self, name: str, what: str) -> list[dict[str, Any]]:
        """The details of this thing in the order's story, in order."""
        return [line["detail"] for line in self.am.show(self.order_no(name))["story"] if line["what"] == what]


@pytest.fixture(scope="module")
def settings(
    broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Setting]]:
    vhost = broker.create_vhost()
    houses: list[House] = []
    try:
        url = broker.url(vhost)
        houses.append(start_on(tmp_path_factory.mktemp("rabbitmq"), url, module_database, WORKERS, **TIMES))
        houses.append(start_embedded(tmp_path_factory.mktemp("embedded"), **TIMES))
        settings = {kind: Setting(house) for kind, house in zip(BOTH, houses, strict=True)}
        for setting in settings.values():
            setting.first_messages()
        for setting in settings.values():
            setting.close_some()
        for setting in settings.values():
            names = ("settled", "unpaid", "abnormal", "live", "waiting", "within", *SHUFFLED)
            setting.am.wait_ended([setting.order_no(name) for name in names])
        yield settings
    finally:
        for house in houses:
            house.close()
        broker.delete_vhost(vhost)


@pytest.mark.parametrize("kind", BOTH)
def test_repeated_and_reordered_messages_pay_once_and_tell_once(settings: dict[str, Setting], kind: str) -> None:
    setting = settings[kind]
    rows = setting.am.rows()
    for number in SHUFFLED:
        one = setting.bought[number]
        setting.am.check(one, paid(), rows[number])
        assert rows[number]["generation"] == 1
        assert setting.am.told(one) == ["1"]
        assert [line["kind"] for line in setting.am.show(number)["postings"]].count("freeze") == 1


@pytest.mark.parametrize("kind", BOTH)
def test_a_request_that_overtook_its_order_waits_for_it(settings: dict[str, Setting], kind: str) -> None:
    setting = settings[kind]
    for name in ("waiting", "within"):
        setting.am.check(setting.bought[name], paid(), setting.am.rows()[setting.order_no(name)])
    listed = ("dead-letters", "list", "--reason", "order_unknown")
    letters = until("the order never came", lambda: setting.am.house.json(*listed), 20)
    assert [letter["order_no"] for letter in letters] == [setting.order_no("unknown")]
    assert setting.order_no("unknown") not in setting.am.rows()
    assert not setting.am.lines_of(setting.bought["unknown"], "login")


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("kind", BOTH)
def test_a_request_is_refused_with_its_own_code_and_moves_nothing(
    settings: dict[str, Setting], kind: str, name: str
) -> None:
    setting = settings[kind]
    am, one = setting.am, setting.bought[name]
    before = am.show(one.order_no)
    fresh = am.hold(one.account, one.password)
    tickets = [ticket(one.hold_no), ticket(fresh)] if name == "two_holds" else []
    hold_no = None if name == "two_holds" else fresh
    am.send([am.need_pay(one, held_order_no=hold_no, tickets=tickets)])
    refused = until(f"an answer for {name}", lambda: setting.story(name, "need_pay_refused"), 20)
    assert ANSWERS[name] in {detail["err_code"] for detail in refused}
    after = am.show(one.order_no)
    unchanged = ("state", "generation", "order_state", "postings", "attempts", "callbacks")
    assert {field: after[field] for field in unchanged} == {field: before[field] for field in unchanged}
    assert not [line for line in am.journal() if line["held_order_no"] == fresh and line["kind"] == "pay"]


@pytest.mark.parametrize("kind", BOTH)
def test_after_held_unpaid_a_new_hold_is_accepted_as_the_next_generation(
    settings: dict[str, Setting], kind: str
) -> None:
    setting = settings[kind]
    am, one = setting.am, setting.bought["unpaid"]
    am.check(one, ENDINGS["refuse"], am.rows()[one.order_no])
    again = Bought(one.order_no, am.hold(one.account, one.password), one.account, one.password)
    am.send([am.need_pay(again)])
    until("the second generation", lambda: am.rows()[one.order_no]["generation"] == 2, 20)
    row = am.wait_ended([one.order_no])[one.order_no]
    am.check(again, paid(), row)
    assert am.told(again) == ["2", "1"]
    submitted = [attempt["proof"] for attempt in am.show(one.order_no)["attempts"] if attempt["submitted_at"]]
    assert submitted == ["refused", "paid"]


@pytest.mark.parametrize("kind", BOTH)
def test_a_known_event_never_opens_another_generation(settings: dict[str, Setting], kind: str) -> None:
    setting = settings[kind]
    am, one = setting.am, setting.buy("known", "hold_not_found")
    events = am.messages(one)
    am.send(events)
    am.wait_ended([one.order_no])
    am.send(events)
    marker = setting.buy("marker", "hold_not_found")  # goes the same way afterwards
    am.send_orders([marker])
    am.wait_ended([marker.order_no])
    assert am.rows()[one.order_no]["generation"] == 1


@pytest.mark.parametrize("kind", BOTH)
def test_a_request_while_the_payment_runs_is_a_repeat_or_a_conflict(settings: dict[str, Setting], kind: str) -> None:
    setting = settings[kind]
    am, one = setting.am, setting.buy("running", delay_ms=1800)
    am.send_orders([one])
    am.wait_line(one, "pay")
    am.send([am.need_pay(one), am.need_pay(one, held_order_no="E888888888")])
    row = am.wait_ended([one.order_no])[one.order_no]
    am.check(one, paid(), row)
    assert row["generation"] == 1
    assert setting.story("running", "need_pay_repeated")
    assert [detail["err_code"] for detail in setting.story("running", "need_pay_refused")] == ["204"]


@pytest.mark.parametrize("kind", BOTH)
def test_the_books_add_up_after_all_of_it(settings: dict[str, Setting], kind: str) -> None:
    settings[kind].am.audit_is_clean()
