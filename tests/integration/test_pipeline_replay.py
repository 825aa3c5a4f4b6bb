"""A dead letter of every reason that real processes can bring about, replayed by the command: what may run again runs under its
guards, what must never run again is refused with exit code 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.integration.broker_talk import publish_raw
from tests.integration.pipeline_endings import ENDINGS, paid
from tests.integration.pipeline_house import House, start_embedded, start_on
from tests.integration.pipeline_orders import AGENT, FARE_FEN, PRICE_FEN, Am, Bought
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode

BOTH = ("rabbitmq", "embedded")
TIMES: Final = {"VERIFY_WINDOW_S": "13", "ORDER_WAIT_S": "1", "CALLBACK_SCHEDULE_S": "0.2,0.2", "LEASE_S": "8"}
DEADLINE_S = 9
POOR, DEAF = "poor", "deaf"
NEVER: Final = {
    "hold_not_found": "hold_not_found",
    "hold_expired": "hold_expired",
    "already_paid": "already_paid",
    "error_unpaid": "unpaid_after_deadline",
    "request_expired": "request_expired",
    "paid_then_refunded": "not_issued",
    "takes_other_amount": "amount_differs",
    "mute_after_pay": "outcome_unknown",
    "agent_pays_after_look": "paid_elsewhere",
}
# After a person looked, or after the account was put right: it runs again, and meets the same wall.
AGAIN: Final = {
    "passenger_mismatch": "order_mismatch",
    "price_changed": "price_mismatch",
    "fare_exceeded": "fare_exceeded",
    "refuse": "pay_refused",
    "captcha": "captcha_required",
}


class Desk:
    """A pipeline whose orders have all ended badly, and the operator at its commands."""

    def __init__(self, house: House) -> None:
        self.am, self.house = Am(house), house
        self.am.add_agent()
        self.am.add_agent(POOR, fund_fen=0)
        self.am.add_agent(DEAF)
        self.am.tell_agent(DEAF, answer="false")
        self.bought: dict[str, Bought] = {}

    def fail_all(self) -> None:
        am = self.am
        for name in (*NEVER, *AGAIN, "wrong_password", "account_locked", "credential_missing", "poor", "deaf"):
            facts: dict[str, Any] = (
                {"deadline_s": DEADLINE_S} if name in ("error_unpaid", "agent_pays_after_look") else {}
            )
            if name == "fare_exceeded":
                facts = {"price_fen": FARE_FEN + 300, "seats": [{"seat": "硬卧下", "price_fen": 42_900}] * 3}
            self.bought[name] = am.buy(f"{AGENT}-{name}", name if name in ENDINGS else "ok", **facts)
        plain = [name for name in self.bought if name in ENDINGS]
        am.send_orders([self.bought[name] for name in plain])
        for name, changes in (
            ("request_expired", {"asked_at": datetime.now(UTC) - timedelta(minutes=30)}),
            ("fare_exceeded", {"price_fen": None}),
            ("credential_missing", {"password": None}),
        ):
            am.send(am.messages(self.bought[name], **changes))
        for name in (POOR, DEAF):
            one = self.bought[name]
            am.send([am.event(am.order(one.order_no, agent=name)), am.need_pay(one, agent=name)])

    def letter(self, name: str) -> dict[str, Any]:
        """The open dead letter of an order; waits until there is one."""
        number = self.bought[name].order_no

        def find() -> dict[str, Any] | None:
            listed = self.house.json("dead-letters", "list", "--state", "open")
            return next((letter for letter in listed if letter["order_no"] == number), None)

        found: dict[str, Any] = until(f"a dead letter of {name}", find, 20)
        return found

    def replay(self, letter_id: int, code: int = 0) -> dict[str, Any]:
        (result,) = self.house.json("dead-letters", "replay", str(letter_id), "--agreed", "代理商已同意", code=code)
        assert result["id"] == letter_id
        return dict(result)

    def set_password(self, one: Bought, password: str, agent: str = AGENT) -> None:
        self.house.json("agents", "set-password", agent, "--account", one.account, stdin=password)

    def ended_again(self, name: str) -> dict[str, Any]:
        number = self.bought[name].order_no
        until(f"{name} runs again", lambda: self.am.rows()[number]["generation"] == 2, 20)
        return self.am.wait_ended([number])[number]


@pytest.fixture(scope="module")
def desks(
    broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Desk]]:
    vhost = broker.create_vhost()
    houses: list[House] = []
    try:
        houses.append(start_on(tmp_path_factory.mktemp("rabbitmq"), broker.url(vhost), module_database, 1, **TIMES))
        houses.append(start_embedded(tmp_path_factory.mktemp("embedded"), **TIMES))
        desks = {kind: Desk(house) for kind, house in zip(BOTH, houses, strict=True)}
        for desk in desks.values():
            desk.fail_all()
        for desk in desks.values():
            desk.am.wait_ended([one.order_no for name, one in desk.bought.items() if name != DEAF], 60)
        yield desks
    finally:
        for house in houses:
            house.close()
        broker.delete_vhost(vhost)


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("kind", BOTH)
def test_what_must_never_run_again_is_refused(desks: dict[str, Desk], kind: str, name: str) -> None:
    desk = desks[kind]
    letter = desk.letter(name)
    assert letter["reason"] == NEVER[name]
    desk.set_password(desk.bought[name], desk.bought[name].password)
    before = desk.am.show(letter["order_no"])
    for dry in ((), ("--dry-run",)):
        (result,) = desk.house.json("dead-letters", "replay", str(letter["id"]), *dry, code=4)
        assert result["result"] == "refused"
        assert result["why"]
    assert desk.am.show(letter["order_no"]) == before


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("kind", BOTH)
def test_what_a_person_looked_at_runs_again_and_may_fail_again(desks: dict[str, Desk], kind: str, name: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought[name], desk.letter(name)
    assert desk.replay(letter["id"], code=4)["result"] == "refused"  # its password went when the purchase ended
    desk.set_password(one, one.password)
    assert desk.replay(letter["id"])["result"] == "replay"
    row = desk.ended_again(name)
    assert (row["state"], row["reason"], row["generation"]) == ("held_unpaid", AGAIN[name], 2)
    assert desk.am.told(one) == ["2", "2"]
    pays = desk.am.lines_of(one, "pay")
    assert len(pays) == (2 if name == "refuse" else 0)  # each refused by name, so each may be followed by another
    assert desk.letter(name)["generation"] == 2


@pytest.mark.parametrize("kind", BOTH)
def test_a_missing_password_is_replayed_once_it_is_there(desks: dict[str, Desk], kind: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought["credential_missing"], desk.letter("credential_missing")
    assert letter["reason"] == "credential_missing"
    assert desk.replay(letter["id"], code=4)["result"] == "refused"
    desk.set_password(one, one.password)
    assert desk.replay(letter["id"])["result"] == "replay"
    desk.am.check(one, paid(), desk.ended_again("credential_missing"))


@pytest.mark.parametrize("kind", BOTH)
def test_a_refused_password_is_replayed_once_it_was_changed(desks: dict[str, Desk], kind: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought["wrong_password"], desk.letter("wrong_password")
    assert desk.replay(letter["id"], code=4)["result"] == "refused"
    assert len(desk.am.lines_of(one, "login")) == 1
    desk.am.hold(one.account, "invented-the-right-one")  # the account's password is the one given last
    desk.set_password(one, "invented-the-right-one")
    assert desk.replay(letter["id"])["result"] == "replay"
    desk.am.check(one, paid(), desk.ended_again("wrong_password"))


@pytest.mark.parametrize("kind", BOTH)
def test_a_locked_account_is_replayed_once_it_was_unblocked(desks: dict[str, Desk], kind: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought["account_locked"], desk.letter("account_locked")
    desk.set_password(one, one.password)
    assert desk.replay(letter["id"], code=4)["result"] == "refused"
    desk.house.json("accounts", "unblock", one.account)
    assert desk.replay(letter["id"])["result"] == "replay"
    row = desk.ended_again("account_locked")  # 12306 still says so
    assert (row["state"], row["reason"]) == ("held_unpaid", "account_locked")


@pytest.mark.parametrize("kind", BOTH)
def test_missing_funds_are_replayed_after_a_top_up(desks: dict[str, Desk], kind: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought[POOR], desk.letter(POOR)
    assert letter["reason"] == "insufficient_funds"
    desk.set_password(one, one.password, POOR)
    assert desk.replay(letter["id"], code=4)["result"] == "refused"
    desk.house.json("funds", "top-up", POOR, "--fen", str(PRICE_FEN), "--reason", "采购资金")
    assert desk.replay(letter["id"])["result"] == "replay"
    desk.am.check(one, paid(), desk.ended_again(POOR))
    assert desk.house.json("funds", "show", POOR)["procurement_fen"] == 0


@pytest.mark.parametrize("kind", BOTH)
def test_an_agent_that_never_took_its_callback_is_told_by_a_replay(desks: dict[str, Desk], kind: str) -> None:
    desk = desks[kind]
    one, letter = desk.bought[DEAF], desk.letter(DEAF)
    assert (letter["reason"], letter["stage"]) == ("callback_exhausted", "notification")
    desk.am.tell_agent(DEAF, answer="ok")
    assert desk.replay(letter["id"])["result"] == "replay"
    row = desk.am.wait_ended([one.order_no])[one.order_no]
    desk.am.check(one, paid(), row)
    assert len({line["webhook_id"] for line in desk.am.lines_of(one, "callback")}) == 1
    assert desk.am.told(one) == ["1"]


def test_an_order_of_an_unknown_agent_is_replayed_raw_once_the_agent_is_there(desks: dict[str, Desk]) -> None:
    """RabbitMQ only: the AM door answers 400 at once, so nothing of it is left to replay."""
    desk = desks["rabbitmq"]
    number = f"{AGENT}-newcomer"
    with_typo = b'{"specversion":"1.0","type":"order.paid","data":{}}'
    desk.am.send([desk.am.event(desk.am.order(number, agent="newcomer"))])
    publish_raw(desk.house.settings.broker_url, "order.paid", with_typo)

    def poison() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = desk.house.json("dead-letters", "list", "--reason", "poison", "--state", "open")
        return listed if len(listed) == 2 else []

    letters = until("two poison letters", poison, 20)
    named = {letter["id"]: letter["detail"] for letter in letters}
    (good,) = [key for key, detail in named.items() if "data.agent" in detail and "no such agent" in detail]
    (bad,) = set(named) - {good}
    assert desk.replay(good, code=4)["result"] == "refused"
    desk.am.add_agent("newcomer")
    assert desk.replay(good)["result"] == "replay"
    assert desk.am.rows()[number]["order_state"] == "paid"
    assert desk.replay(bad, code=4)["result"] == "refused"


@pytest.mark.parametrize("kind", BOTH)
def test_the_books_add_up_after_all_replays(desks: dict[str, Desk], kind: str) -> None:
    desks[kind].am.audit_is_clean()
